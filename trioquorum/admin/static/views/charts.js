// Live charts of all peers, over the time up to the one that is shown; a pointer in one points in all.
import { colour, dash, el, svg, whileShown } from "./dom.js";
import { Palette, Plot } from "./plot.js";
import { framesOf, paced, styled, who } from "./told.js";

const WINDOWS_S = [30, 60, 120, 300, 600];
const WINDOW_S = 60;

/** @type {import("./plot.js").Measure[]} */
const MEASURES = [
  { title: "Transactions", unit: "a second", digits: 0, value: (sample) => (sample.txns * 1000) / sample.period_ms },
  {
    title: "Commit latency",
    unit: "ms, p50 / p99, of the leader",
    digits: 2,
    value: (sample) => sample.commit_ms_p50,
    upper: (sample) => sample.commit_ms_p99,
  },
  { title: "Flush to disk", unit: "ms, mean", digits: 2, value: (sample) => sample.fsync_ms },
  { title: "Waiting for the disk", unit: "transactions", digits: 0, value: (sample) => sample.unflushed_txns },
  { title: "Logged, not committed", unit: "transactions", digits: 0, value: (sample) => sample.unapplied_txns },
  { title: "Sessions", unit: "", digits: 0, value: (sample) => sample.sessions },
  { title: "Watches", unit: "", digits: 0, value: (sample) => sample.watches },
  { title: "Znodes", unit: "", digits: 0, value: (sample) => sample.znodes },
  { title: "Event loop late", unit: "ms, at worst", digits: 1, value: (sample) => sample.loop_lag_ms },
];

const HINT =
  "Upright dashes: a leader was elected. Arrow keys in a chart read out earlier values. " +
  "Samples are taken while a page is open.";
const isNewLeader = ({ peer, fact }) => fact.event === "elected" && fact.leader === peer;

/** The view. */
export function mount(root, { model }) {
  styled("/views/charts.css");
  const windows = WINDOWS_S.map((s) =>
    el("option", { value: s, selected: s === WINDOW_S }, s < 120 ? `${s} s` : `${s / 60} min`),
  );
  const window_s = el("select", { "aria-label": "How much time is shown" }, windows);
  const legend = el("span", { class: "chart-legend row" });
  const palette = new Palette();
  let part = null; // of the time, that is pointed at
  const plots = MEASURES.map(
    (measure) =>
      new Plot(measure, palette, (at) => {
        part = at;
        draw();
      }),
  );
  root.append(
    el("div", { class: "row" }, el("label", {}, "Last ", window_s), el("span", { class: "grow" }), legend),
    el(
      "div",
      { class: "charts" },
      plots.map((plot) => plot.root),
    ),
    el("p", { class: "dim" }, HINT),
  );
  let known = "";
  const draw = () => {
    const ids = model.ids();
    if (known !== ids.join()) {
      known = ids.join();
      legend.replaceChildren(...ids.map(key));
    }
    const to_ms = model.now_ms;
    const from_ms = to_ms - window_s.value * 1000;
    const series = ids.map((id) => [id, model.samples(id, from_ms, to_ms)]);
    const marks = framesOf(model, isNewLeader, { from_ms, to_ms }).map(({ wall_ms }) => wall_ms);
    for (const plot of plots) plot.draw(series, { from_ms, to_ms, part, marks });
  };
  const view = whileShown(model, paced(draw));
  const again = () => {
    if (!root.hidden) draw();
  };
  window_s.addEventListener("change", again);
  addEventListener("theme", again);
  addEventListener("resize", again);
  return view;
}

/** A line as the peer has it in every chart. */
function key(id) {
  const line = svg("path", { d: "M0 3H34", "stroke-dasharray": dash(id).join(" ") || "none" });
  line.style.stroke = colour(id);
  return el(
    "span",
    { class: "row" },
    svg("svg", { viewBox: "0 0 34 6", class: "chart-key", "aria-hidden": "true" }, line),
    who(id),
  );
}
