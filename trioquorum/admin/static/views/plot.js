// One chart on a canvas: a line a peer, told apart by colour, dashes and the number at its end.
import { clock, dash, el } from "./dom.js";

const GAP_MS = 3000; // samples farther apart than this are not joined
const PAD = { left: 44, right: 18, top: 8, bottom: 18 };
const COLOURS = 7;
const HEADROOM = 1.15;
const LETTERS = 11; // how far apart, in pixels, two numbers can be read
const FONT = "11px system-ui, sans-serif";

/** The colours of the page as a canvas wants them; read again when the theme changes. */
export class Palette {
  constructor() {
    this.read();
    addEventListener("theme", () => this.read());
  }

  read() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    this.peers = Array.from({ length: COLOURS }, (_, at) => of(`--p${at + 1}`));
    [this.line, this.dim, this.text, this.soft] = ["--line", "--dim", "--text", "--soft"].map(of);
  }

  /** The colour of a peer. */
  of(id) {
    return this.peers[(id - 1) % COLOURS];
  }
}

/** What a chart is of: `value` of a sample, null where there is none; `upper` (optional) is drawn as a band above it.
 * @typedef {{title: string, unit: string, digits: number,
 *   value: function(object): ?number, upper?: function(object): ?number}} Measure */

export class Plot {
  #measure;
  #palette;
  #canvas = el("canvas", { tabindex: 0, role: "img" });
  #readout = el("span", { class: "readout num" });

  /**
   * @param {Measure} measure
   * @param {Palette} palette
   * @param {function(?number): void} point hears which part of the time, 0 to 1, is pointed at; null: none any more
   */
  constructor(measure, palette, point) {
    this.#measure = measure;
    this.#palette = palette;
    const unit = measure.unit ? el("span", { class: "dim" }, ` ${measure.unit}`) : null;
    this.root = el(
      "figure",
      { class: "chart" },
      el("figcaption", {}, el("b", {}, measure.title), unit, this.#readout),
      this.#canvas,
    );
    this.#canvas.addEventListener("pointermove", ({ offsetX }) => {
      const part = (offsetX - PAD.left) / (this.#canvas.clientWidth - PAD.left - PAD.right);
      point(part < 0 || part > 1 ? null : part);
    });
    this.#canvas.addEventListener("pointerleave", () => point(null));
    this.#canvas.addEventListener("blur", () => point(null));
    let at = 1;
    this.#canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
      if (event.key === "Escape") point(null);
      if (!step) return;
      event.preventDefault();
      at = Math.min(1, Math.max(0, at + step));
      point(at);
    });
  }

  /**
   * @param {[number, object[]][]} series peers and their samples in the time that is shown, ascending
   * @param {{from_ms: number, to_ms: number, part: ?number, marks: number[]}} time `part` of it is pointed at; `marks`
   *   are when leaders were elected
   */
  draw(series, { from_ms, to_ms, part, marks }) {
    const { value, upper } = this.#measure;
    const lines = series.map(([id, samples]) => [
      id,
      samples.map((sample) => ({
        ms: sample.wall_ms,
        value: value(sample),
        upper: upper ? upper(sample) : null,
      })),
    ]);
    const most = lines.flatMap(([, points]) => points.map((each) => Math.max(each.value ?? 0, each.upper ?? 0)));
    const top = niceTop(HEADROOM * most.reduce((a, b) => Math.max(a, b), 0));
    const [width, height] = [this.#canvas.clientWidth, this.#canvas.clientHeight];
    const scale = {
      width,
      height,
      top,
      x: (ms) => PAD.left + ((ms - from_ms) / (to_ms - from_ms)) * (width - PAD.left - PAD.right),
      y: (amount) => height - PAD.bottom - (amount / top) * (height - PAD.top - PAD.bottom),
    };
    const pen = this.#pen(width, height);
    axes(pen, scale, this.#palette, to_ms - from_ms);
    for (const ms of marks) upright(pen, scale.x(ms), scale, this.#palette.line, [2, 2]);
    for (const [id, points] of lines) this.#line(pen, id, points, scale);
    this.#name(pen, lines, scale);
    const at_ms = part === null ? null : from_ms + part * (to_ms - from_ms);
    if (at_ms !== null) upright(pen, scale.x(at_ms), scale, this.#palette.dim, []);
    if (!most.length) nothing(pen, scale, this.#palette);
    this.#read(lines, at_ms);
  }

  #line(pen, id, points, { x, y }) {
    pen.strokeStyle = pen.fillStyle = this.#palette.of(id);
    if (this.#measure.upper) {
      for (const run of runs(points)) {
        pen.globalAlpha = 0.22;
        pen.beginPath();
        run.forEach((each, at) => pen[at ? "lineTo" : "moveTo"](x(each.ms), y(each.upper ?? each.value)));
        run.toReversed().forEach((each) => pen.lineTo(x(each.ms), y(each.value)));
        pen.fill();
        pen.globalAlpha = 1;
      }
    }
    pen.lineWidth = 1.8;
    pen.setLineDash(dash(id));
    for (const run of runs(points)) {
      pen.beginPath();
      run.forEach((each, at) => pen[at ? "lineTo" : "moveTo"](x(each.ms), y(each.value)));
      if (run.length === 1) pen.arc(x(run[0].ms), y(run[0].value), 1.2, 0, 7);
      pen.stroke();
    }
  }

  /** The number of each peer at the end of its line; where many end together, one above the other. */
  #name(pen, lines, { x, y }) {
    const ends = lines
      .map(([id, points]) => [id, points.findLast((each) => each.value !== null)])
      .filter(([, end]) => end);
    const placed = ends
      .map(([id, end]) => ({ id, left: x(end.ms) + 4, base: y(end.value) + 4 }))
      .sort((a, b) => b.base - a.base);
    pen.setLineDash([]);
    pen.textAlign = "left";
    pen.font = `bold ${FONT}`;
    placed.forEach((each, at) => {
      for (const below of placed.slice(0, at)) {
        if (Math.abs(below.left - each.left) < LETTERS) each.base = Math.min(each.base, below.base - LETTERS);
      }
      pen.fillStyle = this.#palette.of(each.id);
      pen.fillText(String(each.id), each.left, each.base);
    });
  }

  /** In words: what is pointed at, or the last values. */
  #read(lines, at_ms) {
    const { title, unit, digits } = this.#measure;
    const values = lines
      .map(([id, points]) => {
        const point = at_ms === null ? points.at(-1) : points.findLast(({ ms }) => ms <= at_ms);
        if (!point || point.value === null || (at_ms !== null && at_ms - point.ms > GAP_MS)) return null;
        const more = point.upper === null ? "" : ` / ${point.upper.toFixed(digits)}`;
        return `${id}: ${point.value.toFixed(digits)}${more}`;
      })
      .filter(Boolean);
    const when = at_ms === null ? "" : `${clock(at_ms)}  `;
    this.#readout.textContent = `${when}${values.join("  ") || (when && "no samples")}`;
    const said = values.length ? `peer ${values.join(", peer ")}` : "no samples";
    this.#canvas.setAttribute("aria-label", `${title} ${unit}${at_ms === null ? "" : ` at ${clock(at_ms)}`}: ${said}`);
  }

  /** The pen of a canvas that is as fine as the screen. */
  #pen(width, height) {
    const ratio = devicePixelRatio || 1;
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.#canvas.width !== wide || this.#canvas.height !== high)
      Object.assign(this.#canvas, { width: wide, height: high });
    const pen = this.#canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = FONT;
    return pen;
  }
}

/** Points that are joined: values that are known, without a gap in time. */
function runs(points) {
  const found = [];
  let last_ms = null;
  for (const point of points) {
    if (point.value === null || point.value === undefined) last_ms = null;
    else {
      if (last_ms === null || point.ms - last_ms > GAP_MS) found.push([]);
      found.at(-1).push(point);
      last_ms = point.ms;
    }
  }
  return found;
}

function axes(pen, { width, top, height, y }, palette, span_ms) {
  pen.setLineDash([]);
  pen.lineWidth = 1;
  pen.strokeStyle = palette.line;
  pen.fillStyle = palette.dim;
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
  pen.fillText(`−${Math.round(span_ms / 1000)} s`, PAD.left, height - 4);
}

function upright(pen, x, { height }, colour, dashes) {
  pen.setLineDash(dashes);
  pen.strokeStyle = colour;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(x, PAD.top);
  pen.lineTo(x, height - PAD.bottom);
  pen.stroke();
}

function nothing(pen, { width, height }, palette) {
  pen.fillStyle = palette.dim;
  pen.textAlign = "center";
  pen.fillText("no samples of this time", width / 2, height / 2);
}

/** The next 1, 2 or 5 times a power of ten. */
export function niceTop(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((times) => times * power >= value) * power;
}

function short(value) {
  if (value >= 1e6) return `${value / 1e6}M`;
  if (value >= 1e3) return `${value / 1e3}k`;
  return String(Number(value.toFixed(3)));
}
