// An election explained: one sentence, a sequence diagram, and every step in words.
import { clock, colour, el, whileShown } from "./dom.js";
import { diagram } from "./sequence.js";
import { electionsOf, summaryOf } from "../model/elections.js";
import { sentence } from "../model/words.js";

const LINES_MAX = 600;
const QUIET = new Set(["link_up", "link_down", "learner_syncing", "learner_synced", "sync_received", "phase_changed"]);

export function mount(root, { model }) {
  const choice = el("select", { id: "which", "aria-label": "Which election" });
  const everything = el("input", { type: "checkbox", id: "every-step" });
  const said = el("p", { class: "election-summary", "aria-live": "polite" });
  const drawing = el("div", { class: "sequence", tabindex: 0, "aria-label": "Sequence diagram; the same is told in words below" });
  const steps = el("ol", { class: "steps" });
  root.append(
    el("div", { class: "row" }, el("label", {}, "Election ", choice), el("label", {}, everything, " links and syncing too")),
    said, drawing, el("h3", {}, "Step by step"), steps);

  let last = "";
  let chosen = null; // began_ms of the one somebody asked for; null follows the newest
  const render = () => {
    const elections = electionsOf(model.events());
    const election = elections.find(({ began_ms }) => began_ms === chosen) ?? elections.at(-1);
    const key = [elections.length, election?.began_ms, election?.frames.length, election?.over, everything.checked].join();
    if (key === last) return;
    last = key;
    choice.replaceChildren(...elections.map((each) => option(each, each === election)).reverse());
    said.textContent = election ? summaryOf(election) : "No election is known of in the time that is shown.";
    const frames = election ? election.frames.filter(({ fact }) => everything.checked || !QUIET.has(fact.event)) : [];
    const ids = [...new Set([...model.members.map(({ id }) => id), ...frames.map(({ peer }) => peer)])].filter(Boolean).sort((a, b) => a - b);
    drawing.replaceChildren(election ? diagram(frames, ids, election.began_ms) : "");
    if (election && !election.over) drawing.scrollTop = drawing.scrollHeight;
    steps.replaceChildren(...lines(frames, election?.began_ms ?? 0));
  };
  choice.addEventListener("change", () => {
    chosen = Number(choice.value);
    render();
  });
  everything.addEventListener("change", render);
  return whileShown(model, render);
}

function option({ began_ms, leader, round }, selected) {
  return el("option", { value: began_ms, selected }, `${clock(began_ms)} — ${leader === null ? "going on" : `peer ${leader}, round ${round}`}`);
}

function lines(frames, began_ms) {
  const votes = new Map();
  const shown = frames.slice(-LINES_MAX).map(({ peer, fact, wall_ms }) => {
    const text = sentence(fact, votes.get(peer));
    if (fact.event === "round_started" || fact.event === "vote_changed") votes.set(peer, fact);
    const name = el("b", {}, peer ? `peer ${peer}` : "");
    name.style.color = colour(peer);
    return el("li", { class: `step step-${fact.event}`, "data-event": fact.event }, el("span", { class: "num dim at" }, `+${wall_ms - began_ms} ms`), name, ` ${text}`);
  });
  if (frames.length > LINES_MAX) shown.unshift(el("li", { class: "dim" }, `${frames.length - LINES_MAX} earlier steps are left out here`));
  return shown;
}
