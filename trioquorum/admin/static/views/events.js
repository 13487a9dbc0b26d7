// The log of all peers in words, the newest first, with filters by peer, kind and words.
import { button, clock, el, whileShown } from "./dom.js";
import { arrange, framesOf, paced, styled, told, who } from "./told.js";
import { GROUPS, groupOf, isWarning, sentence } from "../model/words.js";

const ROWS_MAX = 400;
const QUIET = new Set(["votes heard", "transactions"]); // groups that are not shown until asked for
const VOTES = new Set(["round_started", "vote_changed"]);

/** The view. */
export function mount(root, { model, toast }) {
  styled("/views/events.css");
  const peer = el("select", { "aria-label": "Peer" });
  const words = el("input", {
    type: "search",
    placeholder: "words, like vote or learner",
    "aria-label": "Filter by words",
  });
  const only = el("input", { type: "checkbox", id: "only-warnings" });
  const count = el("span", { class: "dim num", role: "status" });
  const groups = GROUPS.map(([name]) => el("input", { type: "checkbox", checked: !QUIET.has(name) }));
  const rows = el("tbody");
  root.append(
    el("div", { class: "row" }, peer, words, el("label", {}, only, " ⚠ warnings only"), count),
    el(
      "fieldset",
      { class: "groups row" },
      el("legend", { class: "sr" }, "Kinds"),
      GROUPS.map(([name], at) => el("label", {}, groups[at], ` ${name}`)),
    ),
    el(
      "table",
      { class: "log" },
      el(
        "thead",
        { class: "sr" },
        el(
          "tr",
          {},
          ["Time", "Peer", "What"].map((name) => el("th", { scope: "col" }, name)),
        ),
      ),
      rows,
    ),
  );
  rows.addEventListener("click", ({ target }) => {
    const at = target.closest("button")?.dataset.ms;
    if (!at) return;
    model.scrub(Number(at));
    toast(`Everything is shown as it was at ${clock(Number(at))}.`);
  });

  let known = "";
  let last = "";
  const made = new WeakMap(); // frame -> its row
  const draw = () => {
    const ids = model.ids();
    if (known !== ids.join()) {
      known = ids.join();
      const chosen = peer.value;
      peer.replaceChildren(
        el("option", { value: "" }, "all peers"),
        ...ids.map((id) => el("option", { value: id }, `peer ${id}`)),
      );
      peer.value = ids.includes(Number(chosen)) ? chosen : "";
    }
    const on = groups.map((each) => each.checked);
    const wanted = words.value.trim().toLowerCase();
    const isShown = ({ fact }) => on[groupOf(fact.event)] && (!only.checked || isWarning(fact.event));
    const shown = framesOf(model, isShown, peer.value ? { peers: [Number(peer.value)] } : {});
    const key = [peer.value, wanted, only.checked, on, shown.length, shown.at(-1)?.wall_ms].join("|");
    if (key === last) return;
    last = key;
    const found = [];
    for (let at = shown.length - 1; at >= 0 && found.length < ROWS_MAX; at--) {
      if (!wanted || `${shown[at].fact.event} ${sentence(shown[at].fact)}`.toLowerCase().includes(wanted))
        found.push(shown[at]);
    }
    const votes = votesBefore(
      framesOf(model, ({ fact }) => VOTES.has(fact.event) || fact.event === "vote_heard"),
      new Set(found),
    );
    arrange(
      rows,
      found.map((frame) => {
        if (!made.has(frame)) made.set(frame, row(frame, votes.get(frame)));
        return made.get(frame);
      }),
    );
    count.textContent = found.length ? `${found.length} of ${shown.length}, the newest first` : "none";
  };
  for (const each of [peer, only, ...groups]) each.addEventListener("change", draw);
  words.addEventListener("input", draw);
  return whileShown(model, paced(draw));
}

/** What the peer of each of these frames voted for before. */
function votesBefore(frames, wanted) {
  const votes = new Map();
  const found = new Map();
  for (const frame of frames) {
    if (wanted.has(frame)) found.set(frame, votes.get(frame.peer) ?? null);
    if (VOTES.has(frame.fact.event)) votes.set(frame.peer, frame.fact);
  }
  return found;
}

function row({ peer, wall_ms, fact }, mine) {
  const when = button(clock(wall_ms), () => {}, {
    class: "when mono num",
    "data-ms": wall_ms,
    title: "Show everything as it was then",
  });
  const sign = isWarning(fact.event) ? el("span", { class: "warning", title: "a warning" }, "⚠ ") : null;
  return el(
    "tr",
    { "data-event": fact.event },
    el("td", {}, when),
    el("td", {}, who(peer)),
    el("td", {}, sign, told(sentence(fact, mine))),
  );
}
