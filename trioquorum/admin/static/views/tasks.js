// The nursery tree of each peer: Trio tasks, and what their nurseries hold.
import { colour, el, whileShown } from "./dom.js";

const ASK_MS = 2000;

export function mount(root, { model, feeds }) {
  const trees = el("div", { class: "task-trees" });
  root.append(el("p", { class: "dim" }, "Every peer is a tree of tasks: when a role ends, its whole subtree is cancelled. As it is now, asked every two seconds."), trees);
  let timer = null;
  const ask = () => {
    if (!model.recording) for (const id of feeds.heard()) feeds.ask(id, { ask: "tasks" });
  };
  const drawn = new Map();
  const view = whileShown(model, () => {
    for (const id of model.ids()) {
      if (!drawn.has(id)) {
        const name = el("h3", {}, `peer ${id}`);
        name.style.color = colour(id);
        const place = el("div", { class: "task-tree", "data-peer": id });
        trees.append(el("section", {}, name, place));
        drawn.set(id, { place, last: "" });
      }
      const entry = drawn.get(id);
      const tree = model.link(id) === "live" || model.recording ? model.tasks(id) : null;
      const key = JSON.stringify(tree);
      if (key === entry.last) continue;
      entry.last = key;
      entry.place.replaceChildren(tree ? el("ul", {}, item(tree)) : el("p", { class: "dim" }, "not known"));
    }
  });
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

/** The end of a dotted name, which says what runs. */
function short(name) {
  return /[ /]/.test(name) ? name : name.replaceAll("<locals>.", "").split(".").slice(-2).join(".");
}

function item({ name, nurseries, left_out }) {
  const inside = nurseries.map((children) => el("ul", { class: "nursery" }, children.map(item)));
  const more = left_out ? el("span", { class: "dim" }, ` (${left_out} more)`) : null;
  return el("li", {}, el("code", { title: name }, short(name)), more, inside);
}
