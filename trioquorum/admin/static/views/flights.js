// Votes and transactions that fly along the links of the picture.
import { colour, svg } from "./dom.js";

const FLIGHT_MS = 650;
const SLOW_MS = 3000;
const FLIGHTS_MAX = 60;
const BATCH_PAUSE_MS = 60; // batches of one leader closer than this are one packet
const APART_MS = 300; // in slow motion votes start one after the other, however fast they came

/** What flies in a layer of the picture; nothing where somebody asked for less motion. */
export class Flights {
  #layer;
  #slow;
  #flying = [];
  #batches = new Map();
  #next_ms = 0; // when the next vote may start
  #still = matchMedia("(prefers-reduced-motion: reduce)");

  /** `slow` tells whether somebody asked for slow motion. */
  constructor(layer, slow) {
    this.#layer = layer;
    this.#slow = slow;
  }

  /** What an event frame makes fly. */
  of({ peer, fact, wall_ms }, places, transactions, learners) {
    if (this.#still.matches || document.hidden) return;
    if (fact.event === "vote_heard") {
      this.#start(places.get(fact.sender), places.get(peer), this.#vote(fact.leader));
    } else if (transactions && fact.event === "proposed") {
      if (Math.abs(wall_ms - (this.#batches.get(peer) ?? 0)) < BATCH_PAUSE_MS) return;
      this.#batches.set(peer, wall_ms);
      for (const learner of learners) this.#start(places.get(peer), places.get(learner), this.#packet(peer));
    }
  }

  #vote(leader) {
    const dot = svg("g", { class: "flight vote" }, svg("circle", { r: 9 }), svg("text", { "text-anchor": "middle", y: 4 }, leader < 0 ? "–" : String(leader)));
    dot.style.setProperty("--own", colour(leader));
    return dot;
  }

  #packet(peer) {
    const box = svg("g", { class: "flight packet" }, svg("rect", { x: -5, y: -5, width: 10, height: 10, rx: 2 }));
    box.style.setProperty("--own", colour(peer));
    return box;
  }

  #start(from, to, shape) {
    if (!from || !to || this.#flying.length >= FLIGHTS_MAX) return;
    const slow = this.#slow();
    const began = slow ? Math.max(performance.now(), this.#next_ms) : performance.now();
    if (slow) this.#next_ms = began + APART_MS;
    this.#flying.push({ from, to, shape, began, takes: slow ? SLOW_MS : FLIGHT_MS });
    if (this.#flying.length === 1) requestAnimationFrame((now) => this.#step(now));
  }

  #step(now) {
    this.#flying = this.#flying.filter(({ from, to, shape, began, takes }) => {
      const part = (now - began) / takes;
      if (part < 0) return true;
      if (part >= 1) {
        shape.remove();
        return false;
      }
      if (!shape.parentNode) this.#layer.append(shape);
      shape.setAttribute("transform", `translate(${from.x + (to.x - from.x) * part} ${from.y + (to.y - from.y) * part})`);
      return true;
    });
    if (this.#flying.length) requestAnimationFrame((then) => this.#step(then));
  }
}
