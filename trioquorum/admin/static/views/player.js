// Lets the shown time go on by itself.

/** How fast it may go; an election takes a tenth of a second. */
export const SPEEDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 4, 16, 64];
const TICK_MS = 40;

/** Plays what a model knows of; "change" is dispatched when it begins or stops. `speed` tells the speed at any time. */
export class Player extends EventTarget {
  #model;
  #speed;
  #timer = null;
  #until_ms = null;

  constructor(model, speed) {
    super();
    this.#model = model;
    this.#speed = speed;
    model.addEventListener("loaded", () => this.stop());
  }

  get playing() {
    return this.#timer !== null;
  }

  toggle() {
    if (this.playing) this.stop();
    else this.play();
  }

  /** Go on from the shown time, or from the beginning when it is the end; to `until_ms`, or else to the end. */
  play(until_ms = null) {
    const [oldest, newest] = this.#model.range();
    if (this.#model.now_ms >= newest) this.#model.scrub(oldest);
    this.#until_ms = until_ms;
    let last = performance.now();
    this.#timer = setInterval(() => {
      const now = performance.now();
      this.#step((now - last) * this.#speed());
      last = now;
    }, TICK_MS);
    this.dispatchEvent(new Event("change"));
  }

  #step(ms) {
    const model = this.#model;
    if (model.live) return this.stop();
    const newest = model.range()[1];
    const end = Math.min(this.#until_ms ?? Infinity, newest);
    if (model.now_ms + ms < end) return model.scrub(model.now_ms + ms);
    const goesLive = end === newest && !model.recording;
    model.scrub(goesLive ? null : end);
    this.stop();
  }

  stop() {
    if (this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
    this.dispatchEvent(new Event("change"));
  }
}
