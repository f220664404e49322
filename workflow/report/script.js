const read = (id) => JSON.parse(document.getElementById(id).textContent);

const plots = Object.entries(read("figures")).map(([name, figure]) => {
  // A finger on a figure scrolls the page rather than zooming.
  if (matchMedia("(pointer: coarse)").matches) figure.layout.dragmode = false;
  const plot = document.getElementById(name);
  const config = { responsive: true, displayModeBar: false, showTips: false };
  Plotly.newPlot(plot, figure.data, figure.layout, config);
  return plot;
});

// What a legend hides is hidden in every figure.
const isHidden = (trace) => trace.visible === "legendonly";
for (const plot of plots) {
  plot.on("plotly_restyle", ([change]) => {
    if (!("visible" in change)) return;
    const hidden = new Set(plot.data.filter(isHidden).map((trace) => trace.legendgroup));
    for (const other of plots) {
      const hide = other.data.map((trace) => hidden.has(trace.legendgroup));
      if (other.data.some((trace, i) => isHidden(trace) !== hide[i])) {
        Plotly.restyle(other, { visible: hide.map((off) => (off ? "legendonly" : true)) });
      }
    }
  });
}

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
