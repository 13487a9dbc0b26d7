// One znode: its data, stat and ACL, and what can be done to it.
import { EVENTS } from "../net/session.js";
import { zxidHex, zxidText } from "../model/state.js";
import { button, clock, el } from "./dom.js";

const NEWS_MAX = 50;
const PERMISSIONS = [[1, "read"], [2, "write"], [4, "create"], [8, "delete"], [16, "admin"]];
const ALL = 31;
const OPEN_ACL = [{ perms: ALL, scheme: "world", id: "anyone" }];
const OWN_ACL = [{ perms: ALL, scheme: "auth", id: "" }];

export class NodeView {
  session = null;
  #root;
  #follower;
  #tell;
  #path = null;
  #watching = new Set();

  /** `tell`: {toast(text), changed(path): its children may be others, gone(path)}. */
  constructor(root, follower, tell) {
    this.#root = root;
    this.#follower = follower;
    this.#tell = tell;
    root.append(el("p", { class: "dim" }, "Choose a znode."));
  }

  /** Show a znode; what is not allowed or not there is said. */
  async show(path) {
    this.#path = path;
    const watch = this.#watching.has(path);
    const [data, acl] = await Promise.allSettled([this.session.getData(path, watch), this.session.getACL(path)]);
    if (watch) this.session.getChildren(path, true).catch(() => {});
    if (this.#path !== path) return;
    const parts = [el("h2", { class: "mono path" }, path)];
    if (data.status === "rejected") parts.push(el("p", { class: "problem", role: "alert" }, data.reason.message));
    else parts.push(...this.#shown(path, data.value));
    if (acl.status === "fulfilled") parts.push(el("h3", {}, "ACL"), el("ul", { class: "acl" }, acl.value.acl.map(aclText)));
    parts.push(this.#creation(path));
    this.#root.replaceChildren(...parts);
  }

  /** Show the same again. */
  again() {
    if (this.#path) this.show(this.#path);
  }

  /** A watch fired: say so, and set it again if it is still wanted. */
  fired({ type, path }, news) {
    news.prepend(el("li", {}, el("span", { class: "num dim mono" }, clock(Date.now())), ` ${path} ${EVENTS[type] ?? `event ${type}`}`));
    while (news.children.length > NEWS_MAX) news.lastChild.remove();
    if (type === 2) this.#watching.delete(path);
    if (path === this.#path) this.show(path);
    else if (this.#watching.has(path)) this.session.getData(path, true).catch(() => {});
    this.#tell.changed(path);
  }

  #shown(path, { data, stat }) {
    const text = asText(data);
    const area = el("textarea", { rows: 5, "aria-label": `Data of ${path}`, readonly: text === null, spellcheck: "false", class: "data" });
    area.value = text ?? hex(data);
    const save = button("Save", () => this.#write(path, () => this.session.setData(path, new TextEncoder().encode(area.value), stat.version)), { class: "main", disabled: text === null });
    const watch = button(this.#watching.has(path) ? "Watched" : "Watch", () => {
      if (!this.#watching.delete(path)) this.#watching.add(path);
      this.show(path);
    }, { "aria-pressed": String(this.#watching.has(path)) });
    const remove = button("Delete", () => this.#write(path, () => this.session.delete(path, stat.version), true), { disabled: path === "/" });
    return [area, el("div", { class: "row" }, save, watch, button("Reload", () => this.again()), remove, text === null ? el("span", { class: "dim" }, "not text: shown in hexadecimal") : null), this.#follower.root, statTable(stat)];
  }

  #creation(path) {
    const name = el("input", { placeholder: "name", "aria-label": "Name of the child", size: 14, class: "child-name" });
    const data = el("input", { placeholder: "data", "aria-label": "Data of the child", size: 14 });
    const kind = el("select", { "aria-label": "Kind of the child" }, ["persistent", "ephemeral", "sequential", "ephemeral, sequential"].map((text, flags) => el("option", { value: flags }, text)));
    const own = el("input", { type: "checkbox" });
    const create = button("Create", () => {
      const child = path === "/" ? `/${name.value}` : `${path}/${name.value}`;
      this.#write(path, () => this.session.create(child, new TextEncoder().encode(data.value), Number(kind.value), own.checked ? OWN_ACL : OPEN_ACL));
    });
    return el("details", { class: "creation", open: true }, el("summary", {}, "New child"), el("div", { class: "row" }, name, data, kind, el("label", {}, own, " mine only"), create));
  }

  async #write(path, call, gone = false) {
    const sent_ms = Date.now();
    try {
      const { zxid } = await call();
      this.#follower.follow(path, zxid, sent_ms, Date.now());
      if (gone) {
        this.#tell.gone(path);
        this.#root.replaceChildren(el("p", { class: "dim" }, `${path} is deleted.`), this.#follower.root);
        return;
      }
      this.#tell.changed(path);
      await this.show(path);
    } catch (error) {
      if (!("code" in error)) throw error;
      this.#tell.toast(`${path}: ${error.message}`);
    }
  }
}

function statTable(stat) {
  const zxid = (value) => el("span", { title: zxidHex(value) }, zxidText(value));
  const rows = {
    created: [zxid(stat.czxid), ` at ${new Date(stat.ctime).toLocaleString()}`], changed: [zxid(stat.mzxid), ` at ${new Date(stat.mtime).toLocaleString()}`],
    "children changed": [zxid(stat.pzxid)], "versions (data, children, ACL)": [`${stat.version}, ${stat.cversion}, ${stat.aversion}`],
    "size, children": [`${stat.dataLength} B, ${stat.numChildren}`], owner: [ownerText(stat.ephemeralOwner)],
  };
  return el("table", { class: "stat" }, Object.entries(rows).map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "num" }, value))));
}

function ownerText(owner) {
  if (owner === 0n) return "none: it stays";
  const id = BigInt.asUintN(64, owner);
  if (id === 1n << 63n) return "a container";
  return id >> 56n === 0xffn ? `none: it has a time to live of ${id & 0xffffffffffn} ms` : `session 0x${id.toString(16)}`;
}

function aclText({ perms, scheme, id }) {
  const may = PERMISSIONS.filter(([bit]) => perms & bit).map(([, name]) => name).join(", ");
  return el("li", {}, el("code", {}, `${scheme}:${id}`), ` may ${perms === ALL ? "do everything" : may || "do nothing"}`);
}

function asText(data) {
  if (data === null) return "";
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(data);
    return /[\0-\x08\x0e-\x1f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

const hex = (data) => [...data].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
