// The nursery tree of each peer: Trio tasks, and what their nurseries hold. Asked for only while somebody looks.
import { el, whileShown } from "./dom.js";
import { paced, styled, who } from "./told.js";

const ASK_MS = 2000;
const LEAD =
  "Every peer is a tree of tasks. A task waits for all that is in its nurseries; when a role ends, its whole " +
  "subtree is cancelled. This is how it is now, asked every two seconds, whatever time is looked at.";

/** The view. */
export function mount(root, { model, feeds }) {
  styled("/views/tasks.css");
  const words = el("input", { type: "search", placeholder: "find a task", "aria-label": "Find a task by its name" });
  const trees = el("div", { class: "task-trees" });
  root.append(el("p", { class: "dim lead" }, LEAD), el("div", { class: "row" }, words), trees);
  let timer = null;
  const ask = () => {
    if (!model.recording) for (const id of feeds.heard()) feeds.ask(id, { ask: "tasks" });
  };
  const drawn = new Map();
  const draw = () => {
    for (const id of model.ids()) {
      if (!drawn.has(id)) drawn.set(id, new Tree(id, trees));
      const known = model.recording || model.link(id) === "live";
      drawn.get(id).show(known ? model.tasks(id) : null, words.value.trim().toLowerCase());
    }
  };
  words.addEventListener("input", draw);
  const view = whileShown(model, paced(draw));
  return {
    shown(visible) {
      clearInterval(timer);
      if (visible) {
        ask();
        timer = setInterval(ask, ASK_MS);
      }
      view.shown(visible);
    },
  };
}

/** Tasks of one peer. What somebody folded stays so, and what is new is marked for a moment. */
class Tree {
  #place;
  #count = el("span", { class: "dim num" });
  #folded = new Set();
  #before = null; // paths of the tasks that were shown last
  #last = "";

  constructor(id, parent) {
    this.#place = el("div", { class: "task-tree", "data-peer": id });
    parent.append(el("section", {}, el("h3", {}, who(id), " ", this.#count), this.#place));
    // Keys click as well. "toggle" would come later, perhaps after all was drawn anew.
    this.#place.addEventListener("click", ({ target }) => {
      const details = target.closest("summary")?.parentElement;
      if (details?.open) this.#folded.add(details.dataset.path);
      else if (details) this.#folded.delete(details.dataset.path);
    });
  }

  show(tree, wanted) {
    const key = `${wanted}|${JSON.stringify(tree)}`;
    if (key === this.#last) return;
    this.#last = key;
    if (!tree) {
      this.#count.textContent = "";
      this.#before = null;
      this.#place.replaceChildren(el("p", { class: "dim" }, "not known"));
      return;
    }
    const paths = new Set();
    this.#place.replaceChildren(el("ul", {}, this.#item(tree, "", wanted, paths)));
    this.#count.textContent = `${count(tree)} tasks`;
    this.#before = paths;
  }

  #item({ name, nurseries, left_out }, above, wanted, paths) {
    const path = unique(`${above}/${name}`, paths);
    const fresh = this.#before !== null && !this.#before.has(path);
    const found = wanted && name.toLowerCase().includes(wanted);
    const label = el(
      "code",
      { title: name, class: [fresh && "fresh", found && "found"].filter(Boolean).join(" ") || null },
      short(name),
    );
    const more = left_out ? el("span", { class: "dim" }, ` and ${left_out} more`) : null;
    if (!nurseries.some((children) => children.length)) return el("li", {}, label, more);
    const inside = nurseries.map((children) =>
      el(
        "ul",
        { class: "nursery" },
        children.map((child) => this.#item(child, path, wanted, paths)),
      ),
    );
    const open = !this.#folded.has(path);
    return el("li", {}, el("details", { open, "data-path": path }, el("summary", {}, label, more), inside));
  }
}

/** A path that is in `paths` from now on, with a number where one was there already. */
function unique(path, paths) {
  let found = path;
  for (let at = 2; paths.has(found); at++) found = `${path} ${at}`;
  paths.add(found);
  return found;
}

function count({ nurseries, left_out }) {
  return nurseries.flat().reduce((sum, child) => sum + count(child), 1 + (left_out ?? 0));
}

/** The end of a dotted name, which says what runs: a function, or a class and its method. */
function short(name) {
  if (/[ /]/.test(name)) return name;
  const parts = name.replaceAll("<locals>.", "").split(".");
  return parts.slice(/^_*[A-Z]/.test(parts.at(-2) ?? "") ? -2 : -1).join(".");
}
