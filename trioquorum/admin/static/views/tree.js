// The tree browser: a real client session, so ACLs count and watches fire.
import { Session } from "../net/session.js";
import { el } from "./dom.js";
import { NodeView } from "./node.js";
import { Follower } from "./follow.js";

const CHILDREN_MAX = 2000;

export function mount(root, { model, feeds, peersInfo, token, toast }) {
  const via = el("select", { "aria-label": "Peer that the session is at" });
  const status = el("span", { class: "dim", role: "status" });
  const login = el("input", { type: "password", placeholder: "user:password", "aria-label": "Digest login", autocomplete: "off", id: "login" });
  const list = el("ul", { role: "tree", "aria-label": "Znodes", class: "znodes" });
  const detail = el("div", { class: "znode" });
  const news = el("ol", { class: "watch-news", "aria-live": "polite" });
  let session = null;

  const choose = (failed) => {
    const ids = feeds.heard();
    const wanted = Number(via.value);
    const others = ids.filter((each) => each !== failed);
    const id = ids.includes(wanted) ? wanted : others.find((each) => model.state(each).serving && !model.state(each).paused) ?? others[0] ?? ids[0];
    return id === undefined ? null : [id, feeds.adminOf(id)];
  };
  const begin = () => {
    session = new Session(choose, token);
    session.addEventListener("state", () => {
      status.textContent = session.state === "connected" ? `session 0x${session.id.toString(16)} at peer ${session.peer}` : session.state;
      if (session.state === "connected") top.refresh();
    });
    session.addEventListener("watch", ({ detail: fired }) => node.fired(fired, news));
    node.session = session;
  };
  const node = new NodeView(detail, new Follower(model, feeds, peersInfo), { toast, changed: (path) => find(top, path)?.refresh(), gone: (path) => find(top, parent(path))?.refresh(true) });
  const top = new Branch("/", "/", () => session, (path) => node.show(path), toast);
  list.append(top.root);
  list.addEventListener("keydown", walk);

  const form = el("form", { class: "row" }, login, el("button", {}, "Log in"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await session.login(login.value);
      login.value = "";
      toast("Logged in; what this login may see, it sees.");
      node.again();
    } catch (error) {
      toast(error.message);
    }
  });
  root.append(
    el("div", { class: "row" }, el("label", {}, "At ", via), status, el("span", { class: "grow" }), form),
    el("div", { class: "browser" }, list, el("div", {}, detail, el("h3", {}, "Watches that fired"), news)));

  let known = "";
  model.addEventListener("change", () => {
    const ids = model.members.map(({ id }) => id);
    if (known === ids.join()) return;
    known = ids.join();
    via.replaceChildren(el("option", { value: 0 }, "any peer"), ...ids.map((id) => el("option", { value: id }, `peer ${id}`)));
  });
  via.addEventListener("change", () => {
    session?.close();
    if (session) begin();
  });
  return {
    shown(visible) {
      if (visible && !session && !model.recording) begin();
      if (model.recording) status.textContent = "a recording holds no data of znodes";
    },
  };
}

const parent = (path) => path.slice(0, path.lastIndexOf("/")) || "/";

function find(branch, path) {
  if (branch.path === path) return branch;
  for (const child of branch.children.values()) if (path === child.path || path.startsWith(`${child.path}/`)) return find(child, path);
  return null;
}

/** One znode in the tree, and those below it once it was opened. */
class Branch {
  children = new Map();
  #session;
  #chosen;
  #toast;
  #open = false;
  #list = el("ul", { role: "group" });
  #label;

  constructor(name, path, session, chosen, toast) {
    this.path = path;
    this.#session = session;
    this.#chosen = chosen;
    this.#toast = toast;
    this.#label = el("span", { class: "label", tabindex: path === "/" ? 0 : -1, "data-path": path }, name);
    this.root = el("li", { role: "treeitem", "aria-expanded": "false" }, this.#label, this.#list);
    this.#label.addEventListener("click", () => this.choose());
    this.#label.branch = this;
  }

  choose() {
    this.#chosen(this.path);
    for (const each of this.root.closest("[role=tree]").querySelectorAll("[aria-current]")) each.removeAttribute("aria-current");
    this.#label.setAttribute("aria-current", "true");
    this.open(!this.#open || this.path === "/");
  }

  open(on) {
    this.#open = on;
    this.root.setAttribute("aria-expanded", String(on));
    this.#list.hidden = !on;
    if (on) this.refresh();
  }

  get isOpen() {
    return this.#open;
  }

  /** Ask for the children again, if they are shown. */
  async refresh(open = this.path === "/") {
    if (open) this.#open = true;
    if (!this.#open) return;
    this.root.setAttribute("aria-expanded", "true");
    let names;
    try {
      names = (await this.#session().getChildren(this.path, false)).children.sort();
    } catch (error) {
      if (error.code !== -101 && error.code !== -4) this.#toast(`${this.path}: ${error.message}`);
      return;
    }
    for (const name of this.children.keys()) if (!names.includes(name)) this.children.delete(name);
    for (const name of names.slice(0, CHILDREN_MAX)) {
      const path = this.path === "/" ? `/${name}` : `${this.path}/${name}`;
      if (!this.children.has(name)) this.children.set(name, new Branch(name, path, this.#session, this.#chosen, this.#toast));
    }
    const shown = names.slice(0, CHILDREN_MAX).map((name) => this.children.get(name).root);
    const more = names.length > CHILDREN_MAX ? [el("li", { class: "dim" }, `${names.length - CHILDREN_MAX} more`)] : [];
    this.#list.replaceChildren(...shown, ...more);
    for (const child of this.children.values()) child.refresh(false);
  }
}

/** Arrows walk the tree as they do in any. */
function walk(event) {
  const label = event.target.closest(".label");
  if (!label) return;
  const labels = [...event.currentTarget.querySelectorAll(".label")].filter((each) => each.offsetParent);
  const at = labels.indexOf(label);
  const acts = {
    ArrowDown: () => labels[at + 1]?.focus(),
    ArrowUp: () => labels[at - 1]?.focus(),
    ArrowRight: () => label.branch.open(true),
    ArrowLeft: () => (label.branch.isOpen ? label.branch.open(false) : label.closest("ul")?.closest("li")?.querySelector(".label")?.focus()),
    Enter: () => label.branch.choose(),
    " ": () => label.branch.choose(),
  };
  if (!acts[event.key]) return;
  event.preventDefault();
  acts[event.key]();
}
