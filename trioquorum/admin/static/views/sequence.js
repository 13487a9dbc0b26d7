// A sequence diagram: a lifeline a peer, time downwards, votes as arrows, changes of mind and of role as marks.
import { colour, svg } from "./dom.js";
import { lifeAfter } from "../model/elections.js";
import { advantage } from "../model/words.js";

const COLUMN_MIN = 100;
const COLUMN_MAX = 190;
const ROW = 24;
const TOP = 10;
const LEFT = 62;
const LETTER = 6.3; // about the width of one in a mark
const STEPS_MAX = 500;

/** What a mark on a lifeline says. */
const MARKS = {
  state_changed: (fact) => fact.new,
  round_started: (fact) => `round ${fact.round}: ${fact.leader < 0 ? "no vote" : `for ${fact.leader}`}`,
  vote_changed: (fact) => `now for ${fact.leader}`,
  elected: (fact) => `★ elects ${fact.leader}`,
  established: (fact) => `serves, epoch ${fact.epoch}`,
  peer_started: () => "starts",
  peer_stopped: () => "✕ stops",
  page_lost: () => "✕ not heard",
  page_paused: (fact) => (fact.paused ? "‖ paused" : "▶ goes on"),
  phase_changed: (fact) => fact.phase.replace("synchronization", "syncing"),
  sync_received: (fact) => `got ${fact.mode}`,
  data_untrusted: () => "does not vote",
};
/** What is drawn across all lifelines. */
const ACROSS = new Set(["struck", "page_partition"]);

/** Steps that a diagram has something to draw for. */
export const drawable = ({ frame: { fact } }) =>
  fact.event === "vote_heard" || fact.event in MARKS || ACROSS.has(fact.event);

/** How wide a column is when there is so much room. */
export const columnFor = (room, peers) =>
  Math.max(COLUMN_MIN, Math.min(COLUMN_MAX, Math.floor((room - LEFT - 8) / Math.max(1, peers))));

/**
 * The names of the peers, as the head of a diagram of the same column width.
 * @returns {SVGElement}
 */
export function heads(ids, column) {
  const width = LEFT + column * ids.length;
  return svg(
    "svg",
    { width, height: 28, viewBox: `0 0 ${width} 28`, class: "heads", "aria-hidden": "true" },
    svg("text", { x: LEFT - 8, y: 18, "text-anchor": "end", class: "at" }, "ms"),
    ids.map((id, at) => {
      const name = svg(
        "text",
        { x: LEFT + column * (at + 0.5), y: 18, "text-anchor": "middle", class: "head" },
        `peer ${id}`,
      );
      name.style.fill = colour(id);
      return name;
    }),
  );
}

/**
 * The diagram of steps (by time) that are drawable, the last `STEPS_MAX` of them. Each is a group with `data-step`, its
 * key, and is an option of a list box.
 * @param {import("../model/elections.js").Step[]} steps
 * @param {number[]} ids the peers, a column each
 * @param {{began_ms: number, column: number, life: Map<number, string>}} scale `life`: how each peer was before
 * @returns {SVGElement}
 */
export function diagram(steps, ids, { began_ms, column, life }) {
  const drawn = steps.slice(-STEPS_MAX);
  const place = {
    ids,
    column,
    began_ms,
    life,
    height: TOP + ROW * (drawn.length + 0.5),
    width: LEFT + column * ids.length,
    x: (id) => LEFT + column * (ids.indexOf(id) + 0.5),
    y: (at) => TOP + ROW * (at + 0.5),
  };
  const { width, height } = place;
  return svg(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, class: "diagram", role: "presentation" },
    lives(drawn, place),
    drawn.map((step, at) => shape(step, drawn[at - 1], place, place.y(at))),
  );
}

/** Lifelines: dashed while a peer looks, solid while it has a role, thick while it serves, none while it is gone. */
function lives(steps, { ids, x, y, height, life }) {
  return ids.map((id) => {
    const parts = [];
    let [from, look] = [0, life.get(id) ?? "idle"];
    const until = (to, next) => {
      const part = svg("line", { x1: x(id), x2: x(id), y1: from, y2: to, class: `life ${look}` });
      part.style.stroke = look === "idle" ? "" : colour(id);
      parts.push(part);
      [from, look] = [to, next];
    };
    steps.forEach(({ frame: { peer, fact } }, at) => {
      if (peer !== id) return;
      const next = lifeAfter(fact);
      if (next) until(y(at), next);
    });
    until(height, look);
    return svg("g", {}, parts);
  });
}

function shape(step, before, place, y) {
  const {
    frame: { peer, fact, wall_ms },
    text,
    times,
    key,
  } = step;
  const name = peer ? `peer ${peer} ` : "";
  const said = `${wall_ms - place.began_ms} ms, ${name}${text}${times > 1 ? `, ${times} times` : ""}`;
  const when = before?.frame.wall_ms === wall_ms ? "" : since(wall_ms - place.began_ms);
  const draw = fact.event === "vote_heard" ? arrow : ACROSS.has(fact.event) ? across : mark;
  return svg(
    "g",
    { class: `seq seq-${fact.event}`, "data-step": key, role: "option", id: `step-${key}`, "aria-label": said },
    svg("title", {}, said),
    svg("rect", { x: 0, y: y - ROW / 2, width: place.width, height: ROW, class: "band" }),
    svg("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end", class: "at" }, when),
    draw(step, place, y),
  );
}

const since = (ms) => (ms < 0 ? `−${-ms}` : `+${ms}`);

/** How a vote fared, in a word or two, and the look of its arrow. */
function fate({ fact, mine }) {
  const [kind, why = ""] = fact.outcome.split(": ");
  if (kind === "ignored") return ["ignored", `✕ ${why}`];
  if (kind === "answered") return ["answered", "↩ answered"];
  if (kind !== "counted") return ["counted", kind];
  if (!mine) return ["counted", ""];
  if (mine.leader === fact.leader) return ["counted", "✓ agrees"];
  return ["counted", advantage(fact, mine) ? "▲ better" : "▽ no better"];
}

function arrow({ frame: { peer, fact }, mine, times }, { ids, x, column }, y) {
  const to = x(peer);
  const known = ids.includes(fact.sender) && fact.sender !== peer;
  const from = known ? x(fact.sender) : to - column / 2.5;
  const way = from < to ? 1 : -1;
  const [look, word] = fate({ fact, mine });
  const end = to - 4 * way;
  const line = svg("path", { d: `M${from} ${y}H${end}`, class: `vote ${look}` });
  const tip = svg("path", { d: `M${end} ${y}l${-8 * way} -4.5v9z`, class: `tip ${look}` });
  const ball = svg("circle", { cx: from + 16 * way, cy: y, r: 8, class: "ball" });
  ball.style.fill = colour(fact.leader);
  const number = svg(
    "text",
    { x: from + 16 * way, y: y + 4, "text-anchor": "middle", class: "ball-text" },
    fact.leader < 0 ? "–" : fact.leader,
  );
  const note = `${word}${times > 1 ? ` ×${times}` : ""}`;
  const beside = svg(
    "text",
    { x: from + 30 * way, y: y - 3, "text-anchor": way > 0 ? "start" : "end", class: `fate ${look}` },
    clipped(note, column),
  );
  return [line, tip, ball, number, beside];
}

function clipped(text, column) {
  const letters = Math.floor((column - 40) / 5.4);
  return text.length > letters ? `${text.slice(0, letters - 1)}…` : text;
}

function across({ text }, { width, ids, column }, y) {
  const shown = clipped(text, column * ids.length);
  return [
    svg("line", { x1: LEFT, x2: width, y1: y, y2: y, class: "strike" }),
    svg("text", { x: LEFT + 12, y: y + 4, class: "strike-text" }, `⚡ ${shown}`),
  ];
}

function mark({ frame: { peer, fact } }, { ids, x, column }, y) {
  if (!ids.includes(peer)) return [];
  const text = MARKS[fact.event](fact);
  const wide = Math.min(column - 6, text.length * LETTER + 16);
  const box = svg("rect", { x: x(peer) - wide / 2, y: y - 9, width: wide, height: 18, rx: 9, class: "mark" });
  box.style.stroke = colour(peer);
  return [box, svg("text", { x: x(peer), y: y + 4, "text-anchor": "middle", class: "mark-text" }, text)];
}
