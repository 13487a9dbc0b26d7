// The bar below: looking back over the last minutes, saving and opening recordings.
import { decodeMulti, encode } from "../lib/msgpack/index.mjs";
import { plain } from "../net/feed.js";
import { button, clock, el } from "./dom.js";

const TICK_MS = 40;
const RECORDING = 1;

export function mount(root, { model, feeds, toast }) {
  const slider = el("input", { type: "range", id: "scrub", min: 0, max: 0, value: 0, step: 1, class: "grow", "aria-label": "Time shown" });
  const shown = el("output", { class: "mono num", for: "scrub" });
  const speed = el("select", { "aria-label": "Speed of playing" }, [0.1, 0.25, 1, 4, 16].map((times) => el("option", { value: times, selected: times === 1 }, `${times}×`)));
  const file = el("input", { type: "file", hidden: true, id: "recording" });
  const player = new Player(model, () => Number(speed.value));
  const play = button("▶ Play", () => player.toggle(), { id: "play" });
  const live = button("● Live", () => {
    if (model.recording) location.reload();
    else model.scrub(null);
  }, { id: "live" });
  const save = button("Save recording", () => saved(model), { id: "save" });
  const open = button("Open recording…", () => file.click());
  root.append(el("div", { class: "row" }, live, play, speed, slider, shown, save, open, file));

  slider.addEventListener("input", () => {
    const wanted_ms = Number(slider.value); // before anything renders the bar anew
    player.stop();
    model.scrub(wanted_ms);
  });
  file.addEventListener("change", async () => {
    if (!file.files.length) return;
    try {
      const { head, frames } = opened(new Uint8Array(await file.files[0].arrayBuffer()));
      feeds.stop();
      model.load(head, frames);
    } catch (error) {
      toast(`That file cannot be opened: ${error.message}`);
    }
    file.value = "";
  });

  const render = () => {
    const [oldest, newest] = model.range();
    if (Number.isFinite(oldest)) {
      slider.min = oldest;
      slider.max = newest;
      slider.value = model.live ? newest : model.now_ms;
    }
    shown.textContent = model.live ? "now" : clock(model.now_ms);
    slider.setAttribute("aria-valuetext", shown.textContent);
    play.textContent = player.playing ? "❚❚ Stop" : "▶ Play";
    play.disabled = model.live;
    live.classList.toggle("main", !model.live);
    live.textContent = model.recording ? "Back to live" : "● Live";
    save.disabled = model.recording !== null;
  };
  for (const kind of ["change", "time", "loaded"]) model.addEventListener(kind, render);
  player.addEventListener("change", render);
  render();
}

class Player extends EventTarget {
  #model;
  #speed;
  #timer = null;

  constructor(model, speed) {
    super();
    this.#model = model;
    this.#speed = speed;
  }

  get playing() {
    return this.#timer !== null;
  }

  toggle() {
    if (this.playing) return this.stop();
    const [oldest, newest] = this.#model.range();
    if (this.#model.now_ms >= newest) this.#model.scrub(oldest);
    let last = performance.now();
    this.#timer = setInterval(() => {
      const now = performance.now();
      this.#step((now - last) * this.#speed());
      last = now;
    }, TICK_MS);
    this.dispatchEvent(new Event("change"));
  }

  #step(ms) {
    const newest = this.#model.range()[1];
    if (this.#model.live || this.#model.now_ms + ms >= newest) {
      if (!this.#model.live) this.#model.scrub(this.#model.recording ? newest : null);
      this.stop();
      return;
    }
    this.#model.scrub(this.#model.now_ms + ms);
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
    this.dispatchEvent(new Event("change"));
  }
}

function saved(model) {
  const at = new Date().toISOString();
  const head = { recording: RECORDING, kind: "live", title: `live, ${at}`, members: model.members };
  const parts = [encode(head), ...model.dump().map((each) => encode(each, { useBigInt64: true }))];
  const address = URL.createObjectURL(new Blob(parts, { type: "application/octet-stream" }));
  const link = el("a", { href: address, download: `trioquorum-${at.replaceAll(":", "")}.rec` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/** The head and the frames of a recording; raises what is wrong with it. */
function opened(bytes) {
  const [head, ...frames] = [...decodeMulti(bytes, { useBigInt64: true })].map(plain);
  if (head?.recording !== RECORDING || !Array.isArray(head.members)) throw new Error("it is no recording of this version");
  return { head, frames };
}
