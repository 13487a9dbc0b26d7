// The ensemble as a picture: peers on a circle, their links, and what flies along them.
import { Flights } from "./flights.js";
import { colour, el, svg } from "./dom.js";
import { zxidHex, zxidText } from "../model/state.js";

const WIDTH = 640;
const HEIGHT = 450;
const RADIUS = 50;
const JUMP_MS = 1500; // a longer step of the shown time is a jump: nothing flies then

const LOOKS = {
  leading: ["★", "leads"],
  following: ["●", "follows"],
  observing: ["◇", "observes"],
  looking: ["?", "looks for a leader"],
  standalone: ["■", "alone"],
  starting: ["…", "starts"],
  stopped: ["✕", "stopped"],
  unreachable: ["✕", "unreachable"],
  unknown: ["…", "not heard"],
};

export function mount(root, { model, feeds }) {
  const canvas = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "ensemble", role: "img" });
  const title = svg("title");
  const layers = Object.fromEntries(["links", "flights", "peers"].map((name) => [name, svg("g", { class: name })]));
  canvas.append(title, layers.links, layers.flights, layers.peers);
  const slow = el("input", { type: "checkbox", id: "slow" });
  const traced = el("input", { type: "checkbox", id: "traced", checked: true });
  const bar = el("div", { class: "picture-bar row" },
    el("label", {}, slow, " slow motion"),
    el("label", {}, traced, " show transactions"),
    el("span", { class: "dim legend" }, "● vote, named after its candidate  ■ transaction  ┄ election link  ━ learner link  ✕ cut"));
  root.append(canvas, bar);
  const flights = new Flights(layers.flights, () => slow.checked);
  feeds.trace(true);
  traced.addEventListener("change", () => feeds.trace(traced.checked));

  let places = new Map();
  let drawn = "";
  const render = () => {
    const ids = model.ids();
    if (drawn !== ids.join()) {
      drawn = ids.join();
      places = placed(ids);
      layers.peers.replaceChildren(...ids.map((id) => peerShape(id, places.get(id))));
    }
    const states = new Map(ids.map((id) => [id, model.state(id)]));
    const ahead = [...states.values()].reduce((most, state) => (state.zxid > most ? state.zxid : most), -1n);
    ids.forEach((id, at) => update(layers.peers.children[at], states.get(id), ahead, side(model.groups(), id)));
    layers.links.replaceChildren(...links(ids, states, places, model.groups()));
    title.textContent = ids.map((id) => describe(states.get(id))).join("; ");
  };
  const fly = (frame) => flights.of(frame, places, traced.checked, [...model.state(frame.peer).learners.keys()]);
  let last_ms = model.now_ms;
  model.addEventListener("change", render);
  model.addEventListener("loaded", render);
  model.addEventListener("event", ({ detail }) => { if (model.live) fly(detail); });
  model.addEventListener("time", () => {
    const step_ms = model.now_ms - last_ms;
    if (!model.live && step_ms > 0 && step_ms < JUMP_MS) model.events(null, last_ms + 1).forEach(fly);
    last_ms = model.now_ms;
  });
}

function placed(ids) {
  const places = new Map();
  const [x, y] = [WIDTH / 2, HEIGHT / 2];
  const far = ids.length === 1 ? 0 : Math.min(WIDTH, HEIGHT) / 2 - RADIUS - 24;
  ids.forEach((id, at) => {
    const angle = (2 * Math.PI * at) / ids.length - Math.PI / 2;
    places.set(id, { x: x + far * Math.cos(angle) * 1.35, y: y + far * Math.sin(angle) + (ids.length === 3 ? 26 : 0) });
  });
  return places;
}

function peerShape(id, { x, y }) {
  const text = (dy, name) => svg("text", { "text-anchor": "middle", y: dy, class: name });
  const shape = svg("g", { class: "peer", transform: `translate(${x} ${y})`, tabindex: 0, role: "group" },
    svg("circle", { r: RADIUS + 6, class: "halo" }), svg("circle", { r: RADIUS, class: "body" }),
    text(-22, "name"), text(-4, "role"), text(13, "zxid"), text(29, "lag"), text(RADIUS + 20, "side"));
  shape.style.setProperty("--own", colour(id));
  return shape;
}

function update(shape, state, ahead, group) {
  const [glyph, words] = LOOKS[state.role] ?? LOOKS.unknown;
  const role = state.paused ? "‖ paused" : `${glyph} ${words}`;
  const gone = !state.alive || state.paused;
  shape.setAttribute("class", `peer role-${state.role}${gone ? " gone" : ""}${state.serving ? " serving" : ""}`);
  shape.dataset.peer = state.id;
  shape.dataset.role = state.paused ? "paused" : state.role;
  const write = (name, text) => { shape.querySelector(`.${name}`).textContent = text; };
  write("name", `peer ${state.id}`);
  write("role", role);
  write("zxid", state.alive && state.zxid >= 0n ? zxidText(state.zxid) : "");
  write("lag", lag(state, ahead));
  write("side", group);
  shape.setAttribute("aria-label", describe(state));
  let tip = shape.querySelector("title");
  if (!tip) shape.append((tip = svg("title")));
  tip.textContent = `${describe(state)}\n${state.reason}\nzxid ${zxidHex(state.zxid)}`;
}

function lag(state, ahead) {
  if (!state.alive) return "";
  if (state.role === "looking") return state.vote === null ? `round ${state.round}` : `round ${state.round}, for ${state.vote}`;
  if (state.role === "leading") return `epoch ${state.epoch}`;
  const behind = ahead >> 32n === state.zxid >> 32n ? ahead - state.zxid : 0n;
  return behind > 0n ? `${behind} behind` : `epoch ${state.epoch}`;
}

/** In words, for who cannot see it. */
export function describe(state) {
  const [, words] = LOOKS[state.role] ?? LOOKS.unknown;
  const said = `peer ${state.id} ${state.paused ? "is paused" : words}`;
  if (!state.alive) return said;
  return `${said}, epoch ${state.epoch}, zxid ${zxidText(state.zxid)}${state.role === "following" ? `, leader ${state.leader}` : ""}`;
}

function side(groups, id) {
  const at = groups.findIndex((group) => group.includes(id));
  return at < 0 ? "" : `side ${"ABCDEFG"[at]}`;
}

function links(ids, states, places, groups) {
  const drawn = [];
  ids.forEach((one, at) => {
    for (const other of ids.slice(at + 1)) {
      const [a, b] = [states.get(one), states.get(other)];
      const [from, to] = [places.get(one), places.get(other)];
      const line = (name, attributes = {}) => svg("line", { x1: from.x, y1: from.y, x2: to.x, y2: to.y, class: name, ...attributes });
      if (groups.length && side(groups, one) !== side(groups, other)) {
        drawn.push(line("cut", { "data-cut": `${one}-${other}` }), cross(from, to));
        continue;
      }
      if (!a.alive || !b.alive) continue;
      if (a.election.has(other) || b.election.has(one)) drawn.push(line("election-link"));
      const learner = [[a, b], [b, a]].find(([it, of]) => it.leader === of.id && of.role === "leading" && ["following", "observing"].includes(it.role));
      if (learner) {
        const made = line(`learner-link${learner[0].serving ? "" : " syncing"}`);
        made.style.stroke = colour(learner[0].id);
        drawn.push(made);
      }
    }
  });
  return drawn;
}

function cross(from, to) {
  return svg("text", { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 + 7, "text-anchor": "middle", class: "cross" }, "✕");
}

