const read = (id) => JSON.parse(document.getElementById(id).textContent);

// Models that the user hid in a legend; they are hidden in every plot.
const hidden = new Set();
const specs = read("plots");
const plots = new Set();
const visible = (trace) => (hidden.has(trace.legendgroup) ? "legendonly" : true);
const isHidden = (trace) => trace.visible === "legendonly";
const isFolded = (element) => element.closest("details:not([open])") !== null;

// Draws a plot at the width of its card, or at a given one. It is drawn anew, because a legend
// would keep its old place.
const draw = (plot, width) => {
  const figure = specs[plot.id];
  // On a touch screen, a finger on a plot scrolls the page instead of zooming.
  if (matchMedia("(pointer: coarse)").matches) figure.layout.dragmode = false;
  for (const trace of figure.data) trace.visible = visible(trace);
  const config = { responsive: true, displayModeBar: false, showTips: false };
  Plotly.newPlot(plot, figure.data, { ...figure.layout, width }, config);
  plots.add(plot);
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

// Draws the plots, or fits their size. A plot in a folded part has no size, so it waits.
const showPlots = async (root) => {
  for (const plot of root.querySelectorAll(".plot")) {
    if (isFolded(plot)) continue;
    if (plots.has(plot)) Plotly.Plots.resize(plot);
    else draw(plot);
    // There may be many plots, so the page reacts to the user between two of them.
    await new Promise((next) => setTimeout(next));
  }
};
addEventListener("toggle", ({ target }) => target.open && showPlots(target), true);
showPlots(document);

// A link to a folded part opens it.
const unfold = () => {
  const part = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (part?.tagName === "DETAILS") part.open = true;
  part?.scrollIntoView();
};
addEventListener("hashchange", unfold);
if (location.hash) unfold();

// Width that fits onto A4 and letter paper between the margins and two frames, in CSS pixels.
const PAPER = 600;
addEventListener("beforeprint", () => {
  for (const plot of plots) if (!isFolded(plot)) draw(plot, PAPER);
});
addEventListener("afterprint", () => {
  for (const plot of plots) if (!isFolded(plot)) draw(plot);
});

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
