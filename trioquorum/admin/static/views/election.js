// An election explained: in one sentence, as a sequence diagram one can scroll and step through, and round by round.
import { button, clock, el, whileShown } from "./dom.js";
import { rounds } from "./rounds.js";
import { columnFor, diagram, drawable, heads } from "./sequence.js";
import { framesOf, paced, styled, told, who } from "./told.js";
import { electionsOf, isTold, lifeBefore, quorumText, stepsOf, summaryOf } from "../model/elections.js";
import { peersText } from "../model/words.js";

const QUIET = new Set(["link_up", "link_down", "learner_syncing", "learner_synced", "sync_received", "phase_changed"]);
const NONE = "No election is known of in the time that can be looked at.";
const STEP_KEYS = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
const NEAR_PX = 40;
const SHARE = 20; // looking for elections takes at most so small a part of the time

/** The view; see `Explained` for what it shows. */
export function mount(root, { model }) {
  styled("/views/election.css");
  const explained = new Explained(root, model);
  return whileShown(
    model,
    paced(() => explained.render()),
  );
}

class Explained {
  #model;
  #which = el("select", { id: "which", "aria-label": "Which election" });
  #every = el("input", { type: "checkbox", id: "every-step" });
  #said = el("p", { class: "election-summary", "aria-live": "polite" });
  #facts = el("ul", { class: "facts" });
  #drawing = el("div", {
    class: "sequence",
    tabindex: 0,
    role: "listbox",
    "aria-label": "Sequence of the election; arrow keys step through it, Enter shows that moment in the picture",
  });
  #picked = el("p", { class: "picked" });
  #moment = button("Show this moment", () => this.#show(), { id: "show-moment", disabled: true });
  #rounds = el("div", { class: "rounds" });
  #frames = [];
  #elections = [];
  #due_ms = 0; // when elections are looked for again: history comes later than it happened
  #steps = [];
  #chosen = null; // began_ms of the one that was asked for; null goes with the shown time
  #pick = null; // key of the step that was picked
  #last = "";

  constructor(root, model) {
    this.#model = model;
    const older = button("‹", () => this.#move(-1), { "aria-label": "The election before" });
    const newer = button("›", () => this.#move(1), { "aria-label": "The election after" });
    older.append(el("span", { class: "wide" }, " Older"));
    newer.prepend(el("span", { class: "wide" }, "Newer "));
    root.classList.add("explained");
    root.append(
      el("div", { class: "row" }, older, this.#which, newer, el("label", {}, this.#every, " links and syncing too")),
      this.#said,
      this.#facts,
      this.#drawing,
      el("div", { class: "row" }, this.#moment, this.#picked),
      this.#rounds,
    );
    this.#which.addEventListener("change", () => this.#choose(Number(this.#which.value)));
    this.#every.addEventListener("change", () => this.render());
    for (const place of [this.#drawing, this.#rounds]) {
      place.addEventListener("click", ({ target }) => this.#picks(target.closest("[data-step]")?.dataset.step ?? null));
    }
    this.#drawing.addEventListener("keydown", (event) => this.#pressed(event));
    model.addEventListener("loaded", () => {
      this.#due_ms = 0;
    });
    model.addEventListener("event", ({ detail }) => {
      if (isTold(detail)) this.#due_ms = 0;
    });
    new ResizeObserver(() => {
      if (this.#drawing.clientWidth) this.render();
    }).observe(this.#drawing);
  }

  /** Draw what the model knows now; nothing when that is on the screen already. */
  render() {
    const model = this.#model;
    this.#find();
    const election = this.#current();
    const room = this.#drawing.clientWidth;
    const key = [
      this.#elections.length,
      election?.began_ms,
      election?.frames.length,
      election?.over,
      this.#every.checked,
      model.ids().join(),
      room,
    ].join();
    if (key !== this.#last) {
      this.#last = key;
      this.#choices(election);
      this.#draw(election, room, lifeBefore(this.#frames, election));
    }
    this.#mark();
  }

  #find() {
    const began_ms = performance.now();
    if (began_ms < this.#due_ms) return;
    this.#frames = framesOf(this.#model, isTold, { to_ms: Infinity });
    this.#elections = electionsOf(this.#frames);
    const now_ms = performance.now();
    this.#due_ms = this.#model.recording ? Infinity : now_ms + SHARE * (now_ms - began_ms);
  }

  #current() {
    return this.#elections.find(({ began_ms }) => began_ms === this.#chosen) ?? this.#newest();
  }

  /** The newest at the shown time; who only came back to a leader is not what one asks about. */
  #newest() {
    const until_ms = this.#model.live ? Infinity : this.#model.now_ms;
    const known = this.#elections.filter(({ began_ms }) => began_ms <= until_ms);
    return known.findLast(({ joined }) => !joined) ?? known.at(-1) ?? this.#elections[0];
  }

  #choices(election) {
    const options = this.#elections.map((each) => {
      return el(
        "option",
        { value: each.began_ms, selected: each === election },
        `${clock(each.began_ms)} — ${endOf(each)}`,
      );
    });
    this.#which.replaceChildren(...options.reverse());
  }

  #choose(began_ms) {
    this.#chosen = began_ms === this.#newest()?.began_ms ? null : began_ms;
    this.render();
  }

  #move(by) {
    const at = this.#elections.indexOf(this.#current()) + by;
    if (this.#elections[at]) this.#choose(this.#elections[at].began_ms);
  }

  #draw(election, room, life) {
    this.#said.textContent = election ? summaryOf(election) : NONE;
    this.#facts.replaceChildren(...(election ? facts(election, this.#model.members) : []));
    this.#drawing.hidden = !election;
    const all = election ? stepsOf(election) : [];
    const steps = all.filter(({ frame }) => this.#every.checked || !QUIET.has(frame.fact.event));
    this.#steps = steps.filter(drawable);
    const ids = this.#model.ids();
    const column = columnFor(room, ids.length);
    const newest = isAtEnd(this.#drawing) && election && !election.over;
    const scale = { began_ms: election?.began_ms, column, life };
    this.#drawing.replaceChildren(...(election ? [heads(ids, column), diagram(this.#steps, ids, scale)] : []));
    if (newest) this.#drawing.scrollTop = this.#drawing.scrollHeight;
    this.#rounds.replaceChildren(...(election ? rounds(election, all, steps, this.#model.members) : []));
    this.#picks(this.#steps.some(({ key }) => key === this.#pick) ? this.#pick : null);
  }

  /** Steps after the shown time are pale. */
  #mark() {
    const until_ms = this.#model.live ? Infinity : this.#model.now_ms;
    const later = new Set(this.#steps.filter(({ frame }) => frame.wall_ms > until_ms).map(({ key }) => key));
    for (const place of [this.#drawing, this.#rounds]) {
      for (const step of place.querySelectorAll("[data-step]"))
        step.classList.toggle("later", later.has(step.dataset.step));
    }
  }

  #pressed(event) {
    if (event.key === "Enter") return this.#show();
    const by = STEP_KEYS[event.key];
    if (!by || !this.#steps.length) return;
    event.preventDefault();
    const at = this.#steps.findIndex(({ key }) => key === this.#pick);
    const next = Math.max(0, Math.min(this.#steps.length - 1, at + by));
    this.#picks(this.#steps[next].key);
    const drawn = this.#drawing.querySelector(`[data-step="${this.#pick}"]`);
    if (drawn) within(this.#drawing, drawn);
  }

  #picks(key) {
    this.#pick = key;
    for (const place of [this.#drawing, this.#rounds]) {
      for (const step of place.querySelectorAll("[data-step]")) {
        const on = step.dataset.step === key;
        step.classList.toggle("is-picked", on);
        if (step.role === "option") step.setAttribute("aria-selected", String(on));
      }
    }
    if (key) this.#drawing.setAttribute("aria-activedescendant", `step-${key}`);
    else this.#drawing.removeAttribute("aria-activedescendant");
    const step = this.#steps.find((each) => each.key === key);
    this.#moment.disabled = !step;
    this.#picked.replaceChildren(
      ...(step
        ? [
            el("span", { class: "num dim" }, `${clock(step.frame.wall_ms)} `),
            who(step.frame.peer),
            " ",
            ...told(step.text),
          ]
        : [el("span", { class: "dim" }, "Pick a step to read it here, and to see the ensemble as it was then.")]),
    );
  }

  #show() {
    const step = this.#steps.find(({ key }) => key === this.#pick);
    if (step) this.#model.scrub(step.frame.wall_ms);
  }
}

function endOf({ leader, round, joined, peers }) {
  if (leader === null) return "goes on";
  return joined ? `${peersText(peers)} joined ${leader}` : `peer ${leader}, round ${round}`;
}

function facts({ leader, round, voters, elected_ms, epoch, took_ms, frames }, members) {
  const heard = frames.filter(({ fact }) => fact.event === "vote_heard");
  const ignored = heard.filter(({ fact }) => fact.outcome.startsWith("ignored"));
  const needed = quorumText(members);
  const each = [
    leader !== null && ["Elected", `peer ${leader}, round ${round}`],
    [
      "Quorum",
      [needed && `needs ${needed}`, voters.length && peersText(voters)].filter(Boolean).join("; ") || "not known",
    ],
    elected_ms !== null && ["Agreed after", `${elected_ms} ms`],
    took_ms !== null && ["Served after", `${took_ms} ms, epoch ${epoch}`],
    ["Votes heard", `${heard.length}, ${ignored.length} ignored`],
  ];
  return each
    .filter(Boolean)
    .map(([name, value]) => el("li", {}, el("span", { class: "dim" }, name), el("b", { class: "num" }, value)));
}

const isAtEnd = (place) => place.scrollTop + place.clientHeight >= place.scrollHeight - NEAR_PX;

/** Scroll `place`, and nothing around it, until `inner` can be seen. */
function within(place, inner) {
  const [outer, at] = [place.getBoundingClientRect(), inner.getBoundingClientRect()];
  if (at.top < outer.top + NEAR_PX) place.scrollTop -= outer.top + NEAR_PX - at.top;
  else if (at.bottom > outer.bottom) place.scrollTop += at.bottom - outer.bottom + 4;
}
