// A sequence diagram: a lifeline a peer, time downwards, votes as arrows, changes of mind and of role as marks.
import { colour, svg } from "./dom.js";
import { sentence } from "../model/words.js";

const COLUMN = 150;
const ROW = 22;
const HEAD = 34;
const LEFT = 70;
const STEPS_MAX = 400;

const MARKS = {
  state_changed: (fact) => fact.new,
  round_started: (fact) => `round ${fact.round}: for ${fact.leader < 0 ? "nobody" : fact.leader}`,
  vote_changed: (fact) => `now for ${fact.leader}`,
  elected: (fact) => `★ ${fact.leader} elected`,
  established: (fact) => `serves, epoch ${fact.epoch}`,
  peer_started: () => "starts",
  peer_stopped: () => "✕ stops",
  page_lost: () => "✕ not heard",
  page_paused: (fact) => (fact.paused ? "‖ paused" : "goes on"),
  phase_changed: (fact) => fact.phase,
  sync_received: (fact) => `got ${fact.mode}`,
  data_untrusted: () => "does not vote",
};

/** An SVG of event frames (by time) of the peers `ids`. */
export function diagram(frames, ids, began_ms) {
  const steps = frames.filter(({ fact, peer }) => ids.includes(peer) && (fact.event === "vote_heard" || MARKS[fact.event])).slice(0, STEPS_MAX);
  const height = HEAD + ROW * (steps.length + 1);
  const width = LEFT + COLUMN * ids.length;
  const x = (id) => LEFT + COLUMN * (ids.indexOf(id) + 0.5);
  const drawing = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    svg("defs", {}, svg("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" }, svg("path", { d: "M0 0 8 4 0 8z", class: "tip" }))));
  for (const id of ids) {
    const head = svg("text", { x: x(id), y: 20, "text-anchor": "middle", class: "head" }, `peer ${id}`);
    head.style.fill = colour(id);
    drawing.append(head, svg("line", { x1: x(id), x2: x(id), y1: HEAD - 6, y2: height, class: "life" }));
  }
  const votes = new Map();
  steps.forEach((frame, at) => {
    const y = HEAD + ROW * (at + 0.7);
    const step = svg("g", { class: `seq seq-${frame.fact.event}` },
      svg("title", {}, `peer ${frame.peer} ${sentence(frame.fact, votes.get(frame.peer))}`),
      svg("text", { x: LEFT - 12, y: y + 4, "text-anchor": "end", class: "at" }, `+${frame.wall_ms - began_ms}`));
    step.append(...(frame.fact.event === "vote_heard" ? arrow(frame, x, y, ids) : mark(frame, x(frame.peer), y)));
    if (["round_started", "vote_changed"].includes(frame.fact.event)) votes.set(frame.peer, frame.fact);
    drawing.append(step);
  });
  return drawing;
}

function arrow({ peer, fact }, x, y, ids) {
  const from = ids.includes(fact.sender) ? x(fact.sender) : x(peer) - COLUMN / 3;
  const to = x(peer);
  const counted = fact.outcome === "counted" || fact.outcome.startsWith("joined");
  const line = svg("line", { x1: from, y1: y, x2: to + (from < to ? -3 : 3), y2: y, "marker-end": "url(#tip)", class: counted ? "vote" : "vote ignored" });
  const text = svg("text", { x: (from + to) / 2, y: y - 3, "text-anchor": "middle", class: "vote-text" }, `for ${fact.leader < 0 ? "nobody" : fact.leader}${counted ? "" : ` (${fact.outcome.split(":")[0]})`}`);
  return [line, text];
}

function mark({ peer, fact }, x, y) {
  const text = MARKS[fact.event](fact);
  const wide = Math.min(COLUMN - 8, text.length * 6.6 + 12);
  const box = svg("rect", { x: x - wide / 2, y: y - 9, width: wide, height: 18, rx: 9 });
  box.style.stroke = colour(peer);
  return [box, svg("text", { x, y: y + 4, "text-anchor": "middle", class: "mark-text" }, text)];
}
