// One peer of the picture: who it is, what it does, how far it is.
import { colour, svg } from "./dom.js";
import { zxidHex, zxidText } from "../model/state.js";

const LOOKS = {
  leading: ["★", "leads"],
  following: ["●", "follows"],
  observing: ["◇", "observes"],
  looking: ["?", "looks for a leader"],
  standalone: ["■", "stands alone"],
  starting: ["…", "starts"],
  stopped: ["✕", "stopped"],
  unreachable: ["✕", "unreachable"],
  unknown: ["…", "not heard"],
};
const SHORT = { looking: "looks" };
const PHASES = new Set(["discovery", "synchronization"]);
const BEHIND_FULL = 1000n; // so many transactions behind fill the bar
const ROWS = 4;
const FIRST = 20; // from the upper edge to the first line of writing
const LAST = 11; // from the last one to the lower edge

/** A peer in words, for who cannot see it. */
export function describe(state, silence_ms = 0) {
  const [, words] = LOOKS[state.role] ?? LOOKS.unknown;
  const said = `peer ${state.id} ${state.paused ? "is paused" : words}`;
  const silent = silence_ms ? `, silent for ${Math.round(silence_ms / 1000)} s` : "";
  if (!state.alive) return said;
  return `${said}, epoch ${state.epoch}, zxid ${zxidText(state.zxid)}${state.role === "following" ? `, leader ${state.leader}` : ""}${silent}`;
}

export class PeerShape {
  #texts = {};
  #tip = svg("title");
  #bar;
  #width;
  #room; // for writing
  #last = "";

  /** @param {number} id
   *  @param {{x: number, y: number}} at its middle
   *  @param {{width: number, height: number, padding: number}} box */
  constructor(id, { x, y }, { width, height, padding }) {
    const [left, top] = [-width / 2, -height / 2];
    const row = (at) => top + FIRST + (at * (height - FIRST - LAST)) / (ROWS - 1);
    const text = (name, attributes) => (this.#texts[name] = svg("text", { class: name, ...attributes }));
    this.#width = width;
    this.#room = width - 2 * padding;
    this.#bar = svg("rect", { x: left + padding, y: top + height - 7, width: 0, height: 3, rx: 1.5, class: "behind" });
    const frame = { x: left, y: top, width, height, rx: 10 };
    this.root = svg("g", { class: "peer", transform: `translate(${x} ${y})`, tabindex: 0, role: "group" },
      svg("rect", { x: left - 5, y: top - 5, width: width + 10, height: height + 10, rx: 14, class: "halo" }),
      svg("rect", { ...frame, class: "body" }),
      this.#bar,
      text("name", { x: left + padding, y: row(0) }),
      text("side", { x: -left - padding, y: row(0), "text-anchor": "end" }),
      text("role", { x: left + padding, y: row(1) }),
      text("zxid", { x: left + padding, y: row(2) }),
      text("lag", { x: left + padding, y: row(3) }),
      this.#tip);
    this.root.style.setProperty("--own", colour(id));
  }

  /** @param {object} state
   *  @param {{ahead: bigint, side: string, silence_ms: number}} seen the furthest zxid of all, the side of a partition */
  update(state, { ahead, side, silence_ms }) {
    const [glyph, words] = LOOKS[state.role] ?? LOOKS.unknown;
    const short = this.#width < 120 ? SHORT[state.role] ?? words : words;
    const behind = state.alive && state.zxid >= 0n && ahead >> 32n === state.zxid >> 32n ? ahead - state.zxid : 0n;
    const told = {
      name: `peer ${state.id}`,
      side: this.#width < 120 ? side.replace("side ", "") : side,
      role: state.paused ? "‖ paused" : silence_ms ? `⧖ silent ${Math.round(silence_ms / 1000)} s` : `${glyph} ${short}`,
      zxid: state.alive && state.zxid >= 0n ? `zxid ${zxidText(state.zxid)}` : "",
      lag: this.#progress(state, behind),
    };
    const gone = !state.alive || state.paused || silence_ms > 0;
    const classes = `peer role-${state.role}${gone ? " gone" : ""}${state.serving ? " serving" : ""}${behind > 0n ? " late" : ""}`;
    const description = describe(state, silence_ms);
    const key = `${classes}|${Object.values(told).join("|")}|${state.reason}|${state.paused}`;
    if (key === this.#last) return;
    this.#last = key;
    this.root.setAttribute("class", classes);
    this.root.dataset.peer = state.id;
    this.root.dataset.role = state.paused ? "paused" : state.role;
    this.root.setAttribute("aria-label", description);
    for (const [name, text] of Object.entries(told)) this.#texts[name].textContent = text;
    const share = Number(behind > BEHIND_FULL ? BEHIND_FULL : behind) / Number(BEHIND_FULL);
    this.#bar.setAttribute("width", behind > 0n ? Math.max(6, this.#room * share) : 0);
    this.#tip.textContent = [description, state.reason, state.zxid >= 0n ? `zxid ${zxidHex(state.zxid)}` : ""].filter(Boolean).join("\n");
  }

  #progress(state, behind) {
    if (!state.alive) return "";
    if (state.role === "looking") return state.vote === null ? `round ${state.round}` : `round ${state.round}, for ${state.vote}`;
    if (PHASES.has(state.phase) && !state.serving) return this.#width < 120 && state.phase.length > 10 ? "syncs" : state.phase;
    if (behind > 0n) return `${behind} behind`;
    return `epoch ${state.epoch}`;
  }
}
