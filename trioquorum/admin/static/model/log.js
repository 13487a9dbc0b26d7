// What one peer told, by time and bounded, and how it was at any time of it. Pure.
import { blank, copied, fold, measure } from "./state.js";

export const HISTORY_MS = 10 * 60 * 1000;
const KEPT_MAX = { state: 20000, other: 20000, batch: 20000 };
const SAMPLES_MAX = 4000;
const SLACK = 2048; // what is too much or too old is taken out when so many more came
const STEP = 256; // frames between two remembered states
const FRESH_MS = 5000; // a sample says nothing about a time so long after it

const BATCHES = new Set(["proposed", "committed"]);
const OTHERS = new Set([
  "session_created", "session_closed", "session_expired", "local_session_changed", "client_refused",
  "client_frame_refused", "quota_exceeded", "nodes_swept", "slow_flush", "snapshot_taken", "snapshot_failed", "files_purged",
  "frame_dropped", "link_refused", "clients_listening",
]);

/** Why a frame is kept: "state", whatever its age; "other" and "batch", for `HISTORY_MS`. Each has a bound of its own. */
const kindOf = ({ fact }) => (!fact ? "state" : BATCHES.has(fact.event) ? "batch" : OTHERS.has(fact.event) ? "other" : "state");

/** How many of the frames, which are by time, are not after `ms`. */
export const after = (frames, ms) => count(frames, (wall_ms) => wall_ms <= ms);

/** How many are before `ms`, which is where those from then on begin. */
export const firstFrom = (frames, ms) => count(frames, (wall_ms) => wall_ms < ms);

function count(frames, isBefore) {
  let [low, high] = [0, frames.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBefore(frames[middle].wall_ms)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Event frames, snapshots and samples of one peer. `bounded` is false for a recording, which is as long as it is. */
export class PeerLog {
  frames = []; // events and snapshots, by wall_ms
  samples = []; // by wall_ms
  #id;
  #bounded;
  #started_ms = 0;
  #known = new Set(); // seq of events since that start
  #trimmed = 0; // how many frames were left when they were trimmed last
  #states = []; // how the peer was after STEP, 2 * STEP, ... frames; only as far as somebody asked
  #before = new Set(); // election links of before the first frame

  constructor(id, bounded = true) {
    this.#id = id;
    this.#bounded = bounded;
  }

  /** Add an event or a snapshot; false when it is here already. */
  add(frame) {
    if (frame.frame === "snapshot") this.#began(Number(frame.started_wall_ms));
    else if (this.#isKnown(frame)) return false;
    this.#put(frame);
    return true;
  }

  /** Add what a peer remembers, in any order; what is here already is left out. */
  remember(events, samples) {
    const fresh = events.filter((frame) => !this.#isKnown(frame));
    if (fresh.length) {
      this.frames.push(...fresh);
      this.frames.sort((a, b) => a.wall_ms - b.wall_ms);
      this.#states.length = 0;
      this.#before = this.#linksBefore();
      this.#trim();
    }
    const times = new Set(this.samples.map(({ wall_ms }) => wall_ms));
    const missing = samples.filter(({ wall_ms }) => !times.has(wall_ms));
    if (missing.length) {
      this.samples.push(...missing);
      this.samples.sort((a, b) => a.wall_ms - b.wall_ms);
    }
  }

  /** Add a sample. */
  measure(sample) {
    put(this.samples, sample);
    if (this.#bounded && this.samples.length > SAMPLES_MAX + SLACK) {
      this.samples = this.samples.slice(Math.max(this.samples.length - SAMPLES_MAX, after(this.samples, sample.wall_ms - HISTORY_MS)));
    }
  }

  /** How the peer was at a time. */
  at(ms) {
    const told = after(this.frames, ms);
    const steps = Math.floor(told / STEP);
    while (this.#states.length < steps) {
      const state = this.#state(this.#states.length);
      this.#fold(state, this.#states.length * STEP, (this.#states.length + 1) * STEP);
      this.#states.push(state);
    }
    const state = this.#state(steps);
    this.#fold(state, steps * STEP, told);
    const sample = this.samples[after(this.samples, ms) - 1];
    if (sample && state.alive && sample.wall_ms >= state.zxid_ms && ms - sample.wall_ms < FRESH_MS) measure(state, sample);
    return state;
  }

  #state(steps) {
    if (steps) return copied(this.#states[steps - 1]);
    const state = blank(this.#id);
    for (const peer of this.#before) state.election.add(peer);
    return state;
  }

  #fold(state, from, to) {
    for (let at = from; at < to; at++) fold(state, this.frames[at]);
  }

  #put(frame) {
    const at = put(this.frames, frame);
    if (at < this.frames.length - 1) this.#states.length = Math.min(this.#states.length, Math.floor(at / STEP));
    if (this.#bounded && this.frames.length > this.#trimmed + SLACK) this.#trim();
  }

  #began(started_ms) {
    if (started_ms === this.#started_ms) return;
    this.#started_ms = started_ms;
    this.#known.clear();
  }

  #isKnown({ seq }) {
    if (seq < 0 || !this.#bounded) return false;
    if (this.#known.has(seq)) return true;
    this.#known.add(seq);
    return false;
  }

  #trim() {
    const newest_ms = this.frames.at(-1)?.wall_ms ?? 0;
    const room = { ...KEPT_MAX };
    const kept = [];
    for (let at = this.frames.length - 1; at >= 0; at--) {
      const frame = this.frames[at];
      const kind = kindOf(frame);
      if (kind !== "state" && frame.wall_ms < newest_ms - HISTORY_MS) continue;
      if (room[kind]-- > 0) kept.push(frame);
    }
    this.#trimmed = kept.length;
    if (kept.length === this.frames.length) return;
    this.frames = kept.reverse();
    this.#states.length = 0;
    if (this.#known.size > 4 * KEPT_MAX.state) this.#known = new Set(this.frames.map(({ seq }) => seq).filter((seq) => seq >= 0));
  }

  /** Links are told while they come and go, for ten minutes: older ones follow from the first snapshot, backwards. */
  #linksBefore() {
    const first = this.frames.findIndex(({ frame }) => frame === "snapshot");
    if (first < 0) return new Set();
    const links = new Set(this.frames[first].links.filter(({ kind }) => kind === "election").map(({ peer }) => peer));
    for (let at = first - 1; at >= 0; at--) {
      const { fact } = this.frames[at];
      if (fact.event === "peer_started") return new Set();
      if (fact.kind !== "election") continue;
      if (fact.event === "link_up") links.delete(fact.peer);
      else if (fact.event === "link_down") links.add(fact.peer);
    }
    return links;
  }
}

/** Put a frame among others by time; where it is then. Nearly all come in order. */
function put(frames, frame) {
  if (!frames.length || frames.at(-1).wall_ms <= frame.wall_ms) return frames.push(frame) - 1;
  const at = after(frames, frame.wall_ms);
  frames.splice(at, 0, frame);
  return at;
}
