// What the scrub bar is on: who led when, as bands that bear the leader's number, and ticks where something befell it.
import { colour, svg } from "./dom.js";
import { blowsOf, erasOf, isMilestone } from "../model/eras.js";

const HEIGHT = 22;
const NAMED_FROM = 44; // pixels of a band that has room for words
const NUMBERED_FROM = 12;
const APART = 2; // ticks closer than this are one
const TICK_ROOM = 8; // with more ticks than one every so many pixels there are none: they would hide who led

/** The bands of a history. `root` is an SVG element as wide as the slider over it. */
export class Timeline {
  root = svg("svg", { class: "eras", role: "img", height: HEIGHT });
  #title = svg("title");
  #bands = svg("g");
  #model;
  #width = 0;
  #known = null; // eras and blows; null: something new was told
  #last = "";
  #shown = "";

  constructor(model) {
    this.#model = model;
    this.root.append(this.#title, this.#bands);
    const anew = () => { this.#known = null; };
    model.addEventListener("event", ({ detail }) => { if (isMilestone(detail)) anew(); });
    model.addEventListener("loaded", anew);
    new ResizeObserver(([{ contentRect }]) => {
      this.#width = contentRect.width;
      this.draw();
    }).observe(this.root);
  }

  /** Milestones of before came late: look for them again. */
  again() {
    if (!this.#model.recording) this.#known = null;
  }

  /** Draw the range of the model. */
  draw() {
    const [oldest_ms, newest_ms] = this.#model.range();
    if (!this.#width || !Number.isFinite(oldest_ms)) return;
    const place = `${oldest_ms}|${newest_ms}|${this.#width}`;
    if (this.#known && place === this.#last) return;
    this.#last = place;
    this.#known ??= this.#milestones();
    const scale = this.#width / Math.max(1, newest_ms - oldest_ms);
    const x = (ms) => Math.round(10 * Math.min(this.#width, Math.max(0, (ms - oldest_ms) * scale))) / 10;
    const eras = this.#known.eras.filter(({ to_ms }) => to_ms > oldest_ms);
    const bands = eras.map(({ leader, epoch, from_ms, to_ms }) => ({ leader, epoch, from: x(from_ms), to: x(Math.min(to_ms, newest_ms)) }));
    const blows = this.#known.blows.filter((ms) => ms >= oldest_ms).map((ms) => Math.round(x(ms) / APART) * APART);
    const ticks = [...new Set(blows)];
    this.#show(bands, ticks.length * TICK_ROOM > this.#width ? [] : ticks);
  }

  #milestones() {
    const frames = this.#model.events(null, -Infinity, Infinity).filter(isMilestone);
    return { eras: erasOf(frames), blows: blowsOf(frames) };
  }

  #show(bands, ticks) {
    const key = JSON.stringify([this.#width, bands, ticks]);
    if (key === this.#shown) return;
    this.#shown = key;
    this.#bands.replaceChildren(
      svg("rect", { x: 0, y: 4, width: this.#width, height: HEIGHT - 8, rx: 4, class: "nobody" }),
      ...bands.flatMap(band),
      ...ticks.map((at) => svg("path", { d: `M${at} 0v${HEIGHT}`, class: "blow" })));
    const told = bands.slice(-5).map(({ leader, epoch }) => `peer ${leader} in epoch ${epoch}`);
    this.#title.textContent = `Who led: ${told.join(", then ") || "nobody"}. Stripes: nobody. Upright lines: a peer was lost, paused or cut off.`;
  }
}

function band({ leader, epoch, from, to }) {
  const width = Math.max(1, to - from);
  const made = svg("rect", { x: from, y: 4, width, height: HEIGHT - 8, rx: 3, class: "era" });
  made.style.setProperty("--own", colour(leader));
  if (width < NUMBERED_FROM) return [made];
  const words = width < NAMED_FROM ? String(leader) : width < 3 * NAMED_FROM ? `peer ${leader}` : `peer ${leader} leads epoch ${epoch}`;
  return [made, svg("text", { x: from + width / 2, y: HEIGHT / 2 + 4, "text-anchor": "middle", class: "era-name" }, words)];
}
