// What only `trioquorum ensemble` and the simulator have: peers are killed, paused, started again and parted from each other.
import { encode } from "../lib/msgpack/index.mjs";
import { framesOf, protocols } from "../net/feed.js";
import { button, colour, el } from "./dom.js";

const RETRY_MS = 1500;
const SIDES = ["A", "B", "C"];
const ORDERS = [["kill", "✕", "Kill"], ["pause", "❚❚", "Pause"], ["resume", "▶", "Resume"], ["restart", "↻", "Restart"]];
const LOOKS = { running: "●", paused: "‖", ended: "✕" };

/** The controls; they go when a recording is shown. */
export function mount(root, { model, feeds, token, toast }) {
  let socket = null;
  const order = (what) => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(encode(what));
    else toast("The ensemble does not answer.");
  };
  const rows = el("tbody");
  const part = button("Partition", () => parted(rows, order, toast), { id: "partition", title: "Let nothing pass between sides" });
  const heal = button("Heal", () => order({ do: "heal" }), { id: "heal", disabled: true });
  root.hidden = false;
  root.append(
    el("div", { class: "row" }, el("h2", {}, "Break something"), el("span", { class: "grow" }), part, heal),
    el("table", {}, el("caption", { class: "sr" }, "The peers of the ensemble"), rows));

  const take = (frame) => {
    if (frame.frame === "problem") return toast(`${frame.what}: ${frame.reason}`);
    if (frame.frame !== "ensemble") return;
    feeds.follow(frame.peers);
    model.ensembleIs(frame);
    if (rows.children.length !== frame.peers.length) rows.replaceChildren(...frame.peers.map(({ id }) => row(id, order)));
    frame.peers.forEach((peer, at) => update(rows.children[at], peer));
    heal.disabled = frame.groups.length === 0;
  };
  const dial = () => {
    socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/ensemble", protocols("trioquorum.ensemble", token));
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => framesOf(data).forEach(take);
    socket.onclose = () => { if (!model.recording) setTimeout(dial, RETRY_MS); };
  };
  dial();
  model.addEventListener("loaded", () => {
    root.hidden = true;
    socket?.close();
  });
}

function row(id, order) {
  const acts = ORDERS.map(([what, sign, title]) => {
    const said = `${title} peer ${id}`;
    const made = button("", () => order({ do: what, peer: id }), { "data-do": what, "aria-label": said, title: said });
    made.append(el("span", { class: "sign", "aria-hidden": "true" }, sign), el("span", { class: "wide" }, title));
    return made;
  });
  const choices = SIDES.map((side, at) => el("label", {}, el("input", { type: "radio", name: `side-${id}`, value: at, checked: at === 0 }), side));
  const name = el("th", { scope: "row" }, `peer ${id}`);
  name.style.setProperty("--own", colour(id));
  return el("tr", { "data-peer": id }, name, el("td", { class: "state" }), el("td", { class: "acts" }, acts),
    el("td", { class: "sides" }, el("fieldset", { "aria-label": `Side of peer ${id} in a partition` }, choices)));
}

function update(tr, { state, code }) {
  const text = `${LOOKS[state] ?? ""} ${code === null ? state : `${state} (${code})`}`;
  tr.querySelector(".state").textContent = text;
  const may = { kill: state !== "ended", pause: state === "running", resume: state === "paused", restart: true };
  for (const each of tr.querySelectorAll("button")) {
    each.disabled = !may[each.dataset.do];
    each.hidden = each.dataset.do === (state === "paused" ? "pause" : "resume");
  }
}

/** Part the peers by the side that is chosen for each; sides that nobody is on are left out. */
function parted(rows, order, toast) {
  const chosen = SIDES.map(() => []);
  for (const tr of rows.children) chosen[Number(tr.querySelector("input:checked").value)].push(Number(tr.dataset.peer));
  const groups = chosen.filter((side) => side.length);
  if (groups.length < 2) toast("Choose another side than A for some of the peers first.");
  else order({ do: "partition", groups });
}
