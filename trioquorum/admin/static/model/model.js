// Everything that peers told, and what follows from it for the time that is looked at. No sockets, no elements.
import { blank, fold } from "./state.js";

export const HISTORY_MS = 10 * 60 * 1000;
const EVENTS_MAX = 20000;
const SAMPLES_MAX = 4000;

class PeerHistory {
  link = "dialling";
  tasks = null;
  log = []; // events and snapshots, by wall_ms
  samples = [];
  started_ms = 0;
  known = new Set(); // "started:seq" of events
  constructor(id) {
    this.id = id;
    this.now = blank(id);
  }
}

/**
 * Events: "change" (the state at the shown time is another; at most once an animation frame), "event" (detail: an event
 * frame that came live), "time" (the shown time moved), "loaded" (a recording replaced everything).
 */
export class Model extends EventTarget {
  members = [];
  recording = null;
  #peers = new Map();
  #shown_ms = null;
  #due = false;
  #scrubbed = new Map();
  #groups = [];

  /** Ids of members, and of whoever said something, ascending. */
  ids() {
    return [...new Set([...this.members.map((member) => member.id), ...this.#peers.keys()])].filter(Boolean).sort((a, b) => a - b);
  }

  get live() {
    return this.#shown_ms === null;
  }

  /** The shown time. */
  get now_ms() {
    return this.#shown_ms ?? Date.now();
  }

  /** The state of a peer at the shown time. */
  state(id) {
    if (this.live) return this.#of(id).now;
    if (!this.#scrubbed.has(id)) this.#scrubbed.set(id, this.#stateAt(id, this.#shown_ms));
    return this.#scrubbed.get(id);
  }

  /** live, dialling or lost. */
  link(id) {
    return this.#of(id).link;
  }

  tasks(id) {
    return this.#of(id).tasks;
  }

  /** Sides of the partition in force at the shown time, as far as the page was told. */
  groups() {
    if (this.live) return this.#groups;
    const told = this.#peers.get(0)?.log.filter((frame) => frame.fact?.event === "page_partition" && frame.wall_ms <= this.#shown_ms);
    return told?.at(-1)?.fact.groups ?? [];
  }

  /** First and last time that something is known of. */
  range() {
    let [oldest, newest] = [Infinity, -Infinity];
    for (const { log, samples } of this.#peers.values()) {
      for (const list of [log, samples]) {
        if (!list.length) continue;
        oldest = Math.min(oldest, list[0].wall_ms);
        newest = Math.max(newest, list.at(-1).wall_ms);
      }
    }
    if (!this.recording) newest = Date.now();
    if (oldest > newest) oldest = newest;
    return this.recording ? [oldest, newest] : [Math.max(oldest, newest - HISTORY_MS), newest];
  }

  /** Event frames up to the shown time, of one peer or all (each has `peer`), by time. */
  events(id = null, from_ms = -Infinity, to_ms = this.now_ms) {
    const found = [];
    for (const peer of id === null ? this.#peers.values() : [this.#of(id)]) {
      for (const frame of peer.log) if (frame.fact && frame.wall_ms >= from_ms && frame.wall_ms <= to_ms) found.push(frame);
    }
    return id === null ? found.sort((a, b) => a.wall_ms - b.wall_ms) : found;
  }

  /** Samples of a peer between two times. */
  samples(id, from_ms, to_ms) {
    const all = this.#of(id).samples;
    return all.slice(after(all, from_ms - 1), after(all, to_ms));
  }

  /** Look at another time; null is now. */
  scrub(ms) {
    this.#shown_ms = ms ?? (this.recording ? this.range()[1] : null);
    this.#scrubbed.clear();
    this.dispatchEvent(new Event("time"));
    this.#changed();
  }

  /** A frame of a peer. */
  take(id, frame) {
    const peer = this.#of(id);
    if (frame.frame === "history") {
      this.#remember(peer, frame);
    } else if (frame.frame === "tasks") {
      peer.tasks = frame.tasks;
    } else if (frame.frame === "snapshot" || frame.frame === "event" || frame.frame === "sample") {
      this.#now(peer, frame);
    }
    this.#changed();
  }

  #now(peer, frame) {
    fold(peer.now, frame);
    if (frame.frame === "sample") {
      insert(peer.samples, frame, SAMPLES_MAX);
      return;
    }
    frame.peer = peer.id;
    if (frame.frame === "snapshot") {
      peer.started_ms = Number(frame.started_wall_ms);
      peer.tasks = frame.tasks ?? peer.tasks;
      this.members = frame.members;
      insert(peer.log, frame, EVENTS_MAX);
    } else if (this.#isNew(peer, frame)) {
      insert(peer.log, frame, EVENTS_MAX);
      this.dispatchEvent(new CustomEvent("event", { detail: frame }));
    }
  }

  #remember(peer, { events, samples }) {
    for (const frame of events) {
      if (!this.#isNew(peer, frame)) continue;
      frame.peer = peer.id;
      peer.log.push(frame);
    }
    const since = peer.samples[0]?.wall_ms ?? Infinity;
    peer.samples.push(...samples.filter((sample) => sample.wall_ms < since));
    for (const list of [peer.log, peer.samples]) list.sort((a, b) => a.wall_ms - b.wall_ms);
  }

  #isNew(peer, frame) {
    if (frame.seq < 0 || !peer.started_ms) return true;
    const key = `${peer.started_ms}:${frame.seq}`;
    if (peer.known.has(key)) return false;
    peer.known.add(key);
    return true;
  }

  /** A feed came, is tried, or went. What the page notices itself is part of the history. */
  linkIs(id, link) {
    const peer = this.#of(id);
    if (peer.link === "live" && link === "lost") this.#note(peer, { event: "page_lost" });
    peer.link = link;
    this.#changed();
  }

  /** What the controls of an ensemble say of its processes. */
  ensembleIs({ peers, groups }) {
    for (const { id, state } of peers) {
      const peer = this.#of(id);
      if (peer.now.paused !== (state === "paused")) this.#note(peer, { event: "page_paused", paused: state === "paused" });
    }
    if (JSON.stringify(groups) !== JSON.stringify(this.#groups)) {
      this.#groups = groups;
      this.#note(this.#of(0), { event: "page_partition", groups });
    }
    this.#changed();
  }

  #note(peer, fact) {
    const frame = { frame: "event", seq: -1, wall_ms: Date.now(), mono_us: 0, fact, peer: peer.id };
    fold(peer.now, frame);
    insert(peer.log, frame, EVENTS_MAX);
  }

  /** Replace everything by a recording: its head, and `[peer, frame]` by time. */
  load(head, frames) {
    this.#peers.clear();
    this.#groups = [];
    this.members = head.members;
    this.recording = head;
    for (const [id, frame] of frames) {
      frame.peer = id;
      frame.wall_ms = Number(frame.wall_ms);
      const peer = this.#of(id);
      (frame.frame === "sample" ? peer.samples : peer.log).push(frame);
    }
    this.scrub(this.range()[1]);
    this.dispatchEvent(new Event("loaded"));
  }

  /** `[peer, frame]` of all that is known, by time, for a recording. */
  dump() {
    const all = [];
    for (const { id, log, samples } of this.#peers.values()) {
      for (const { peer: _, ...frame } of [...log, ...samples]) all.push([id, frame]);
    }
    return all.sort((a, b) => a[1].wall_ms - b[1].wall_ms);
  }

  #of(id) {
    if (!this.#peers.has(id)) this.#peers.set(id, new PeerHistory(id));
    return this.#peers.get(id);
  }

  #stateAt(id, ms) {
    const { log, samples } = this.#of(id);
    const state = blank(id);
    for (const frame of log) {
      if (frame.wall_ms > ms) break;
      fold(state, frame);
    }
    const sample = samples[after(samples, ms) - 1];
    if (sample && state.alive) fold(state, sample);
    return state;
  }

  #changed() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.dispatchEvent(new Event("change"));
    });
  }
}

/** How many of the frames, which are by time, are not after `ms`. */
function after(frames, ms) {
  let [low, high] = [0, frames.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (frames[middle].wall_ms <= ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

function insert(frames, frame, max) {
  const at = frames.length && frames.at(-1).wall_ms > frame.wall_ms ? after(frames, frame.wall_ms) : frames.length;
  frames.splice(at, 0, frame);
  if (frames.length > max) frames.splice(0, frames.length - max);
}
