// Everything that peers told, and what follows from it for the time that is looked at. No sockets, no elements.
import { HISTORY_MS, PeerLog, after, firstFrom } from "./log.js";
import { blank, fold, struckDown } from "./state.js";

const SILENT_MS = 6000; // a peer whose feed is open is heard a few times a second
const PAGE = 0; // whose log holds what the page noticed of all, and a simulation's faults

/**
 * Events: "change" (the state at the shown time is another; at most once an animation frame), "event" (detail: an event
 * frame that came live), "time" (the shown time moved), "loaded" (a recording replaced everything).
 */
export class Model extends EventTarget {
  members = [];
  recording = null;
  #version = -1; // of the configuration that `members` is
  #peers = new Map();
  #shown_ms = null;
  #due = false;
  #scrubbed = new Map();

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
    if (this.live) return this.#known(id).now;
    if (!this.#scrubbed.has(id)) this.#scrubbed.set(id, this.#known(id).log.at(this.#shown_ms));
    return this.#scrubbed.get(id);
  }

  /** live, dialling or lost. */
  link(id) {
    return this.#known(id).link;
  }

  /** For how long a peer whose feed is open said nothing, if that is strange; else 0. */
  silence_ms(id) {
    const { link, heard_ms } = this.#known(id);
    const silence_ms = Date.now() - heard_ms;
    return this.live && link === "live" && silence_ms > SILENT_MS ? silence_ms : 0;
  }

  tasks(id) {
    return this.#known(id).tasks;
  }

  /** Sides of the partition in force at the shown time, as far as the page was told. */
  groups() {
    return this.state(PAGE).groups;
  }

  /** First and last time that something is known of. */
  range() {
    let [oldest, newest] = [Infinity, -Infinity];
    for (const { log } of this.#peers.values()) {
      for (const list of [log.frames, log.samples]) {
        if (!list.length) continue;
        oldest = Math.min(oldest, list[0].wall_ms);
        newest = Math.max(newest, list.at(-1).wall_ms);
      }
    }
    if (!this.recording) newest = Date.now();
    oldest = Math.min(oldest, newest);
    return this.recording ? [oldest, newest] : [Math.max(oldest, newest - HISTORY_MS), newest];
  }

  /** Event frames between two times, by default up to the shown one, of one peer or all (each has `peer`), by time. */
  events(id = null, from_ms = -Infinity, to_ms = this.now_ms) {
    const found = [];
    for (const { log } of id === null ? this.#peers.values() : [this.#known(id)]) {
      const end = after(log.frames, to_ms);
      for (let at = firstFrom(log.frames, from_ms); at < end; at++) if (log.frames[at].fact) found.push(log.frames[at]);
    }
    return id === null ? found.sort((a, b) => a.wall_ms - b.wall_ms) : found;
  }

  /** Samples of a peer between two times. */
  samples(id, from_ms, to_ms) {
    const all = this.#known(id).log.samples;
    return all.slice(firstFrom(all, from_ms), after(all, to_ms));
  }

  /** Look at another time; null is now. */
  scrub(ms) {
    this.#shown_ms = ms ?? (this.recording ? this.range()[1] : null);
    this.#scrubbed.clear();
    this.dispatchEvent(new Event("time"));
    this.#changed();
  }

  /** A frame of a peer. Frames of kinds that are not known are left out. */
  take(id, frame) {
    if (this.recording) return;
    const peer = this.#of(id);
    peer.heard_ms = Date.now();
    if (frame.frame === "history") {
      for (const each of frame.events) each.peer = id;
      peer.log.remember(frame.events, frame.samples);
      this.#scrubbed.clear();
    } else if (frame.frame === "tasks") {
      peer.tasks = frame.tasks;
    } else if (frame.frame === "sample") {
      fold(peer.now, frame);
      peer.log.measure(frame);
    } else if (frame.frame === "snapshot") {
      this.#adopt(peer, frame);
    } else if (frame.frame === "event") {
      frame.peer = id;
      if (!peer.log.add(frame)) return;
      fold(peer.now, frame);
      this.dispatchEvent(new CustomEvent("event", { detail: frame }));
    }
    this.#changed();
  }

  #adopt(peer, frame) {
    const { paused } = peer.now;
    peer.tasks = frame.tasks ?? peer.tasks;
    fold(peer.now, frame);
    peer.now.paused = paused;
    peer.log.add({ ...frame, tasks: null, peer: peer.id }); // a tree of tasks each time would be much to keep
    if (frame.config_version < this.#version) return;
    this.#version = frame.config_version;
    this.members = frame.members;
  }

  /** A feed came, is tried, or went. What the page notices itself is part of the history. */
  linkIs(id, link) {
    const peer = this.#of(id);
    if (peer.link === "live" && link === "lost") this.#note(peer, { event: "page_lost" });
    peer.link = link;
    peer.heard_ms = Date.now();
    this.#changed();
  }

  /** What the controls of an ensemble say of its processes. */
  ensembleIs({ peers, groups }) {
    if (this.recording) return;
    for (const { id, state } of peers) {
      const peer = this.#of(id);
      if (peer.now.paused !== (state === "paused")) this.#note(peer, { event: "page_paused", paused: state === "paused" });
    }
    const page = this.#of(PAGE);
    if (JSON.stringify(groups) !== JSON.stringify(page.now.groups)) this.#note(page, { event: "page_partition", groups });
    this.#changed();
  }

  #note(peer, fact) {
    const frame = { frame: "event", seq: -1, wall_ms: Date.now(), mono_us: 0, fact, peer: peer.id };
    fold(peer.now, frame);
    peer.log.add(frame);
  }

  /** Time goes by, even while nobody says anything. */
  tick() {
    if (this.live) this.#changed();
  }

  /** Replace everything by a recording: its head, and `[peer, frame]` by time. */
  load(head, frames) {
    this.#peers.clear();
    this.members = head.members;
    this.recording = head;
    const ids = head.members.map((member) => member.id);
    for (const [id, frame] of frames) {
      const { log } = this.#of(id);
      if (frame.frame === "sample") log.measure(frame);
      else log.add({ ...frame, peer: id });
      if (frame.fact?.event !== "struck") continue;
      for (const peer of struckDown(frame.fact, ids)) {
        this.#of(peer).log.add({ ...frame, fact: { event: "page_lost" }, peer });
      }
    }
    this.scrub(this.range()[1]);
    this.dispatchEvent(new Event("loaded"));
  }

  /** `[peer, frame]` of all that is known, by time, for a recording. */
  dump() {
    const all = [];
    for (const { id, log } of this.#peers.values()) {
      for (const frame of [...log.frames, ...log.samples]) all.push([id, asTold(frame)]);
    }
    return all.sort((a, b) => a[1].wall_ms - b[1].wall_ms);
  }

  #known(id) {
    return this.#peers.get(id) ?? fresh(id, true);
  }

  #of(id) {
    if (!this.#peers.has(id)) {
      this.#peers.set(id, fresh(id, this.recording === null));
    }
    return this.#peers.get(id);
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

const fresh = (id, bounded) => ({ id, link: "dialling", tasks: null, log: new PeerLog(id, bounded), now: blank(id), heard_ms: 0 });

/** Without what the model put in; a snapshot names its peer itself. */
function asTold(frame) {
  if (frame.frame === "snapshot") return frame;
  const { peer: _, ...told } = frame;
  return told;
}
