// Live charts: one line a peer, told apart by colour and dashes; the time under the pointer or the arrows is read out.
import { clock, dash, el, whileShown } from "./dom.js";

const WINDOWS_S = [30, 60, 120, 300, 600];
const GAP_MS = 3000; // samples farther apart than this are not joined
const PAD = { left: 46, right: 8, top: 8, bottom: 18 };

const CHARTS = [
  ["Transactions a second", (sample) => (sample.txns * 1000) / sample.period_ms, 0],
  ["Commit latency, p50 (ms)", (sample) => sample.commit_ms_p50, 2],
  ["Commit latency, p99 (ms)", (sample) => sample.commit_ms_p99, 2],
  ["Flush to disk, mean (ms)", (sample) => sample.fsync_ms, 2],
  ["Waiting for the disk (txns)", (sample) => sample.unflushed_txns, 0],
  ["Logged, not committed (txns)", (sample) => sample.unapplied_txns, 0],
  ["Sessions", (sample) => sample.sessions, 0],
  ["Watches", (sample) => sample.watches, 0],
  ["Event loop late by (ms)", (sample) => sample.loop_lag_ms, 1],
];

export function mount(root, { model }) {
  const window_s = el("select", { "aria-label": "How much time is shown" }, WINDOWS_S.map((s) => el("option", { value: s, selected: s === 60 }, `${s} s`)));
  const legend = el("span", { class: "legend row" });
  const charts = CHARTS.map(([title, value, digits]) => new Chart(title, value, digits, model));
  root.append(el("div", { class: "row" }, el("label", {}, "Last ", window_s), el("span", { class: "grow" }), legend), el("div", { class: "charts" }, charts.map((chart) => chart.root)));
  let due = 0;
  let known = "";
  const draw = () => {
    due = 0;
    const ids = model.ids();
    if (known !== ids.join()) {
      known = ids.join();
      legend.replaceChildren(...ids.map(key));
    }
    const to = model.now_ms;
    for (const chart of charts) chart.draw(ids, to - window_s.value * 1000, to);
  };
  const view = whileShown(model, () => { due ||= requestAnimationFrame(draw); });
  for (const each of [window_s, globalThis]) each.addEventListener(each === window_s ? "change" : "theme", () => { due ||= requestAnimationFrame(draw); });
  return view;
}

function key(id) {
  const canvas = el("canvas", { width: 68, height: 12, "aria-hidden": "true", class: "key" });
  const pen = canvas.getContext("2d");
  pen.scale(2, 2);
  stroke(pen, id);
  pen.beginPath();
  pen.moveTo(0, 3);
  pen.lineTo(34, 3);
  pen.stroke();
  return el("span", { class: "row" }, canvas, `peer ${id}`);
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function stroke(pen, id) {
  pen.strokeStyle = css(`--p${((id - 1) % 7) + 1}`);
  pen.lineWidth = 1.8;
  pen.setLineDash(dash(id));
}

class Chart {
  #value;
  #digits;
  #model;
  #canvas = el("canvas", { tabindex: 0, role: "img" });
  #readout = el("span", { class: "readout num", "aria-live": "off" });
  #at = null; // part of the width that is pointed at
  #last = null;

  constructor(title, value, digits, model) {
    this.#value = value;
    this.#digits = digits;
    this.#model = model;
    this.title = title;
    this.root = el("figure", { class: "chart" }, el("figcaption", {}, el("b", {}, title), this.#readout), this.#canvas);
    const point = (part) => {
      this.#at = part;
      if (this.#last) this.draw(...this.#last);
    };
    this.#canvas.addEventListener("pointermove", ({ offsetX }) => point((offsetX - PAD.left) / (this.#canvas.clientWidth - PAD.left - PAD.right)));
    this.#canvas.addEventListener("pointerleave", () => point(null));
    this.#canvas.addEventListener("keydown", ({ key }) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[key];
      if (step) point(Math.min(1, Math.max(0, (this.#at ?? 1) + step)));
      if (key === "Escape") point(null);
    });
  }

  draw(ids, from, to) {
    this.#last = [ids, from, to];
    const series = ids.map((id) => [id, this.#model.samples(id, from, to).map((sample) => [sample.wall_ms, this.#value(sample)])]);
    const top = niceTop(Math.max(0, ...series.flatMap(([, points]) => points.map(([, value]) => value ?? 0))));
    const pen = this.#sized();
    const [width, height] = [this.#canvas.clientWidth, this.#canvas.clientHeight];
    const x = (ms) => PAD.left + ((ms - from) / (to - from)) * (width - PAD.left - PAD.right);
    const y = (value) => height - PAD.bottom - (value / top) * (height - PAD.top - PAD.bottom);
    axes(pen, width, height, top, y, from, to, x);
    for (const [id, points] of series) line(pen, id, points, x, y);
    const at_ms = this.#at === null || this.#at < 0 || this.#at > 1 ? null : from + this.#at * (to - from);
    if (at_ms !== null) {
      pen.setLineDash([]);
      pen.strokeStyle = css("--dim");
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x(at_ms), PAD.top);
      pen.lineTo(x(at_ms), height - PAD.bottom);
      pen.stroke();
    }
    this.#read(series, at_ms);
  }

  #read(series, at_ms) {
    const told = series.map(([id, points]) => {
      const point = at_ms === null ? points.at(-1) : points.findLast(([ms]) => ms <= at_ms);
      return point && point[1] !== null ? `${id}: ${point[1].toFixed(this.#digits)}` : null;
    }).filter(Boolean);
    this.#readout.textContent = `${at_ms === null ? "" : `${clock(at_ms)}  `}${told.join("  ")}`;
    this.#canvas.setAttribute("aria-label", `${this.title}; ${told.length ? `peer ${told.join(", peer ")}` : "no samples yet"}`);
  }

  /** The pen of a canvas that is as fine as the screen. */
  #sized() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [this.#canvas.clientWidth * ratio, this.#canvas.clientHeight * ratio].map(Math.round);
    if (this.#canvas.width !== width || this.#canvas.height !== height) Object.assign(this.#canvas, { width, height });
    const pen = this.#canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    return pen;
  }
}

function axes(pen, width, height, top, y, from, to, x) {
  pen.setLineDash([]);
  pen.lineWidth = 1;
  pen.strokeStyle = css("--line");
  pen.fillStyle = css("--dim");
  pen.font = "11px system-ui, sans-serif";
  for (const part of [0, 0.5, 1]) {
    const at = Math.round(y(top * part)) + 0.5;
    pen.beginPath();
    pen.moveTo(PAD.left, at);
    pen.lineTo(width - PAD.right, at);
    pen.stroke();
    pen.textAlign = "right";
    pen.fillText(short(top * part), PAD.left - 6, at + 3.5);
  }
  pen.textAlign = "left";
  pen.fillText(`−${Math.round((to - from) / 1000)} s`, x(from), height - 4);
  pen.textAlign = "right";
  pen.fillText("shown time", x(to), height - 4);
}

function line(pen, id, points, x, y) {
  stroke(pen, id);
  pen.beginPath();
  let last = null;
  for (const [ms, value] of points) {
    if (value === null || value === undefined) {
      last = null;
      continue;
    }
    if (last === null || ms - last > GAP_MS) pen.moveTo(x(ms), y(value));
    else pen.lineTo(x(ms), y(value));
    last = ms;
  }
  pen.stroke();
}

/** The next 1, 2 or 5 times a power of ten. */
function niceTop(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((times) => times * power >= value) * power;
}

function short(value) {
  if (value >= 1e6) return `${value / 1e6}M`;
  if (value >= 1e3) return `${value / 1e3}k`;
  return String(Number(value.toFixed(3)));
}
