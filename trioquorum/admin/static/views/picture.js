// The ensemble as a picture: peers on an ellipse, their links, and what flies along them.
import { Flights } from "./flights.js";
import { colour, dash, el, svg } from "./dom.js";
import { PeerShape } from "./peer.js";
import { placed } from "./places.js";

const JUMP_MS = 1500; // a longer step of the shown time is a jump: nothing flies then
const STRUCK_MS = 4000; // a fault of a simulation is named for so long
const SMALL_BELOW = 520; // pixels
const STRIKER = 0;
const LEARNERS = new Set(["following", "observing"]);

/** The picture; it follows the shown time, and is always on the screen. */
export function mount(root, { model, feeds }) {
  const picture = new Picture(root, model, feeds);
  const render = () => picture.render();
  model.addEventListener("change", render);
  model.addEventListener("loaded", render);
  render();
  return { shown() {} };
}

class Picture {
  #model;
  #canvas = svg("svg", { class: "ensemble", role: "group", "aria-label": "The peers of the ensemble and their links" });
  #layers = Object.fromEntries(["links", "flights", "peers"].map((name) => [name, svg("g", { class: name })]));
  #struck = el("p", { class: "struck", hidden: true });
  #room;
  #flights;
  #places = new Map();
  #shapes = new Map();
  #stood = "";
  #linked = "";
  #last_ms;

  constructor(root, model, feeds) {
    this.#model = model;
    this.#last_ms = model.now_ms;
    const slow = el("input", { type: "checkbox", id: "slow" });
    const traced = el("input", { type: "checkbox", id: "traced", checked: true });
    this.#canvas.append(...Object.values(this.#layers));
    this.#room = el("div", { class: "picture-room" }, this.#canvas, this.#struck);
    root.append(this.#room, el("div", { class: "picture-bar row" }, legend(), el("span", { class: "grow" }),
      el("label", {}, slow, " slow motion"), el("label", {}, traced, " transactions")));
    this.#flights = new Flights(this.#layers.flights, () => slow.checked);
    feeds.trace(true);
    traced.addEventListener("change", () => feeds.trace(traced.checked));
    const fly = (frame) => {
      this.#flights.of(frame, this.#places, traced.checked, [...model.state(frame.peer).learners.keys()]);
    };
    model.addEventListener("event", ({ detail }) => { if (model.live) fly(detail); });
    model.addEventListener("time", () => {
      const step_ms = model.now_ms - this.#last_ms;
      if (!model.live && step_ms > 0 && step_ms < JUMP_MS) model.events(null, this.#last_ms + 1e-6).forEach(fly);
      this.#last_ms = model.now_ms;
    });
    new ResizeObserver(() => this.render()).observe(this.#room);
  }

  render() {
    const model = this.#model;
    const ids = model.ids();
    const groups = model.groups();
    this.#stand(ids);
    const states = new Map(ids.map((id) => [id, model.state(id)]));
    const ahead = [...states.values()].reduce((most, { alive, zxid }) => (alive && zxid > most ? zxid : most), -1n);
    for (const id of ids) {
      this.#shapes.get(id)?.update(states.get(id), { ahead, side: side(groups, id), silence_ms: model.silence_ms(id) });
    }
    this.#link(links(ids, states, groups));
    this.#strike();
  }

  /** Place the peers anew where there are others, or there is more or less room. */
  #stand(ids) {
    const { clientWidth: width, clientHeight: height } = this.#room;
    const key = `${ids}|${width}|${height}`;
    if (key === this.#stood || !width) return;
    this.#stood = key;
    this.#linked = "";
    const { height: tall, needed, box, at } = placed(ids, width, height);
    this.#room.style.minHeight = `${needed}px`;
    this.#canvas.classList.toggle("small", width < SMALL_BELOW);
    this.#canvas.setAttribute("viewBox", `0 0 ${width} ${tall}`);
    this.#canvas.setAttribute("height", tall);
    this.#places = at;
    this.#shapes = new Map(ids.map((id) => [id, new PeerShape(id, at.get(id), box)]));
    this.#layers.peers.replaceChildren(...[...this.#shapes.values()].map(({ root }) => root));
  }

  #link(found) {
    const key = found.map(Object.values).join(";");
    if (key === this.#linked) return;
    this.#linked = key;
    this.#layers.links.replaceChildren(...found.flatMap((link) => drawn(link, this.#places)));
  }

  /** The fault that a simulation struck at last. */
  #strike() {
    const model = this.#model;
    const fault = model.recording?.kind === "simulation" ? model.events(STRIKER, model.now_ms - STRUCK_MS).at(-1)?.fact : null;
    this.#struck.hidden = fault?.event !== "struck";
    if (!this.#struck.hidden) this.#struck.textContent = `⚡ ${fault.fault.replaceAll("_", " ")}: ${fault.what}`;
  }
}

function legend() {
  const sign = (shape, text) => el("span", { class: "sign" }, svg("svg", { viewBox: "0 0 26 14", "aria-hidden": "true" }, shape), text);
  const line = (name) => svg("line", { x1: 1, x2: 25, y1: 7, y2: 7, class: name });
  return el("span", { class: "legend dim" },
    sign(svg("circle", { cx: 13, cy: 7, r: 6, class: "sign-vote" }), "vote"),
    sign(svg("rect", { x: 8, y: 2, width: 10, height: 10, rx: 2, class: "sign-packet" }), "transactions"),
    sign(line("election-link"), "election link"),
    sign(line("learner-link"), "learner"),
    sign(svg("text", { x: 13, y: 12, "text-anchor": "middle", class: "sign-cross" }, "✕"), "cut"));
}

function side(groups, id) {
  const at = groups.findIndex((group) => group.includes(id));
  return at < 0 ? "" : `side ${String.fromCharCode(65 + at)}`;
}

/** What is between peers: `{kind, from, to}`, kind cut, election, learner or syncing; a learner is `from`. */
function links(ids, states, groups) {
  const found = [];
  ids.forEach((one, at) => {
    for (const other of ids.slice(at + 1)) {
      const [a, b] = [states.get(one), states.get(other)];
      if (isCut(groups, one, other)) {
        found.push({ kind: "cut", from: one, to: other });
        continue;
      }
      if (!a.alive || !b.alive) continue;
      const pair = [[a, b], [b, a]].find(([it, of]) => LEARNERS.has(it.role) && it.leader === of.id && of.role === "leading");
      if (pair) found.push({ kind: pair[0].serving ? "learner" : "syncing", from: pair[0].id, to: pair[1].id });
      else if (a.election.has(other) || b.election.has(one)) found.push({ kind: "election", from: one, to: other });
    }
  });
  return found;
}

/** Who is on no side is with everybody. */
function isCut(groups, one, other) {
  const [a, b] = [side(groups, one), side(groups, other)];
  return a !== "" && b !== "" && a !== b;
}

function drawn({ kind, from, to }, places) {
  const [a, b] = [places.get(from), places.get(to)];
  if (!a || !b) return [];
  const line = (name, attributes = {}) => svg("line", { x1: a.x, y1: a.y, x2: b.x, y2: b.y, class: name, ...attributes });
  if (kind === "cut") {
    const middle = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 + 8 };
    return [line("cut", { "data-cut": `${from}-${to}` }), svg("text", { ...middle, "text-anchor": "middle", class: "cross" }, "✕")];
  }
  if (kind === "election") return [line("election-link")];
  const made = line(`learner-link${kind === "syncing" ? " syncing" : ""}`, { "stroke-dasharray": kind === "syncing" ? "10 6" : dash(from).join(" ") || null });
  made.style.stroke = colour(from);
  return [made];
}
