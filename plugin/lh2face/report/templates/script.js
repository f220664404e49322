const read = (id) => JSON.parse(document.getElementById(id).textContent);

// Models that a legend hides: hidden in every figure.
const hidden = new Set();
const plots = [];
const visible = (trace) => (hidden.has(trace.legendgroup) ? "legendonly" : true);
const isHidden = (trace) => trace.visible === "legendonly";

const draw = (name, figure) => {
  // A finger on a figure scrolls the page rather than zooming.
  if (matchMedia("(pointer: coarse)").matches) figure.layout.dragmode = false;
  for (const trace of figure.data) trace.visible = visible(trace);
  const plot = document.getElementById(name);
  const config = { responsive: true, displayModeBar: false, showTips: false };
  Plotly.newPlot(plot, figure.data, figure.layout, config);
  plots.push(plot);
  plot.on("plotly_restyle", ([change]) => {
    if (!("visible" in change)) return;
    hidden.clear();
    for (const trace of plot.data.filter(isHidden)) hidden.add(trace.legendgroup);
    for (const other of plots) {
      if (other.data.some((trace) => isHidden(trace) !== hidden.has(trace.legendgroup))) {
        Plotly.restyle(other, { visible: other.data.map(visible) });
      }
    }
  });
};

(async () => {
  for (const [name, figure] of Object.entries(read("figures"))) {
    draw(name, figure);
    // Many benchmarks have many figures: the page answers between one and the next.
    await new Promise((next) => setTimeout(next));
  }
})();

const turns = read("turns");
const slider = document.getElementById("turn");
const showTurn = () => {
  const degrees = `${turns[slider.value]}°`.replace("-", "−");
  document.documentElement.style.setProperty("--turn", slider.value / slider.max);
  document.querySelector("output[for=turn]").textContent = degrees;
  slider.setAttribute("aria-valuetext", degrees);
};
slider.addEventListener("input", showTurn);
showTurn();
