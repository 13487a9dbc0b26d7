// An election round by round: who voted for whom and why that changed, which quorum was reached, each step in words.
import { colour, el } from "./dom.js";
import { told, who } from "./told.js";
import { quorumText, roundsOf } from "../model/elections.js";
import { peersText, whyChanged } from "../model/words.js";

const LINES_MAX = 400;
const since = (ms) => (ms < 0 ? `−${-ms}` : `+${ms}`);

/**
 * Sections: what came before the first round, each round, and what came after the vote.
 * @param {import("../model/elections.js").Election} election
 * @param {import("../model/elections.js").Step[]} all its steps
 * @param {import("../model/elections.js").Step[]} steps those of them that are told one by one
 * @param {object[]} members
 * @returns {HTMLElement[]}
 */
export function rounds(election, all, steps, members) {
  const { began_ms } = election;
  const of = (section) =>
    list(
      steps.filter((step) => step.section === section),
      began_ms,
    );
  const voted = roundsOf(all);
  return [
    section("Before the first round", [], of("before")),
    ...voted.map((round) => section(`Round ${round.round}`, votes(round, began_ms, members), of(round.round))),
    section("After the vote: the leader is found, and the histories are made one", [], of("after")),
  ].filter(Boolean);
}

function section(title, lead, steps) {
  if (!lead.length && !steps) return null;
  return el(
    "section",
    { class: "round" },
    el("h3", {}, title),
    lead,
    steps && el("details", { open: true }, el("summary", {}, "Step by step"), steps),
  );
}

function votes({ votes: cast, quorums, ignored }, began_ms, members) {
  const paths = [...cast]
    .sort(([a], [b]) => a - b)
    .map(([peer, changes]) =>
      el(
        "li",
        {},
        who(peer),
        changes.flatMap((vote, at) => change(vote, changes[at - 1], began_ms)),
      ),
    );
  const parts = [el("ul", { class: "votes" }, paths)];
  if (cast.size) parts.push(el("p", { class: "tally" }, tally(cast)));
  if (quorums.length) parts.push(quorum(quorums, began_ms, members));
  else if (cast.size) parts.push(el("p", { class: "dim" }, "No quorum was reached in this round."));
  if (ignored.size) {
    const why = [...ignored].map(([reason, times]) => `${reason} (${times})`).join(", ");
    parts.push(el("p", { class: "dim" }, `Votes that were heard and did not count: ${why}.`));
  }
  return parts;
}

function change(vote, before, began_ms) {
  const at = `+${vote.wall_ms - began_ms} ms`;
  const nodes = [before ? " → " : " for ", ball(vote.leader), el("span", { class: "num dim" }, ` ${at} `)];
  if (vote.because) nodes.push(...told(before ? whyChanged(vote, before) : vote.because));
  return nodes;
}

/** A candidate, as in the diagram and the picture: a disk with the number, in the peer's colour. */
function ball(id) {
  const made = el("span", { class: "candidate", title: id < 0 ? "nobody" : `peer ${id}` }, id < 0 ? "–" : String(id));
  made.style.background = colour(id);
  return made;
}

function tally(cast) {
  const ends = new Map();
  for (const [peer, changes] of cast) {
    const { leader } = changes.at(-1);
    ends.set(leader, [...(ends.get(leader) ?? []), peer]);
  }
  const parts = [...ends]
    .sort(([, a], [, b]) => b.length - a.length)
    .map(
      ([leader, peers]) => `${peersText(peers.sort((a, b) => a - b))} for ${leader < 0 ? "nobody" : `peer ${leader}`}`,
    );
  return `In the end: ${parts.join("; ")}.`;
}

function quorum(quorums, began_ms, members) {
  const needed = quorumText(members);
  const seen = quorums.map(({ peer, leader, voters, wall_ms }) =>
    el(
      "li",
      {},
      who(peer),
      ` after ${wall_ms - began_ms} ms: ${peersText(voters)} ${voters.length === 1 ? "is" : "are"} for peer ${leader}`,
    ),
  );
  const lead = needed ? ` (${needed}), as it was seen by` : " as it was seen by";
  return el("div", { class: "quorum" }, el("p", {}, el("b", {}, "★ Quorum"), lead), el("ul", {}, seen));
}

function list(steps, began_ms) {
  if (!steps.length) return null;
  const left_out = steps.length - LINES_MAX;
  return el(
    "ol",
    { class: "steps" },
    left_out > 0 ? el("li", { class: "dim" }, `${left_out} earlier steps are left out here`) : null,
    steps
      .slice(-LINES_MAX)
      .map(({ frame: { peer, fact, wall_ms }, text, times, key }) =>
        el(
          "li",
          { class: `step step-${fact.event}`, "data-event": fact.event, "data-step": key },
          el("span", { class: "num dim at" }, `${since(wall_ms - began_ms)} ms`),
          who(peer),
          " ",
          told(text),
          times > 1 ? el("span", { class: "dim" }, ` (${times} times)`) : null,
        ),
      ),
  );
}
