// What only `trioquorum ensemble` has: its peers are killed, paused, started again and parted from each other.
import { encode } from "../lib/msgpack/index.mjs";
import { framesOf, protocols } from "../net/feed.js";
import { button, el } from "./dom.js";

const RETRY_MS = 1500;
const SIDES = ["A", "B", "C"];

export function mount(root, { model, feeds, token, toast }) {
  let socket = null;
  const order = (what) => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(encode(what));
    else toast("The ensemble does not answer.");
  };
  const rows = el("tbody");
  const part = button("Partition", () => order({ do: "partition", groups: sides(rows) }), { id: "partition" });
  const heal = button("Heal", () => order({ do: "heal" }), { id: "heal", disabled: true });
  root.hidden = false;
  root.append(
    el("div", { class: "row" }, el("h2", {}, "Controls"), el("span", { class: "grow" }), part, heal),
    el("table", {}, el("thead", {}, el("tr", {}, ["Peer", "Process", "", "Side"].map((name) => el("th", {}, name)))), rows));

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
  model.addEventListener("loaded", () => { root.hidden = true; socket?.close(); });
}

function row(id, order) {
  const act = (what, title) => button(title, () => order({ do: what, peer: id }), { "data-do": what, "aria-label": `${title} peer ${id}` });
  const choices = SIDES.map((side, at) => el("label", {}, el("input", { type: "radio", name: `side-${id}`, value: at, checked: at === 0 }), ` ${side} `));
  return el("tr", { "data-peer": id },
    el("th", { scope: "row" }, `peer ${id}`), el("td", { class: "state" }),
    el("td", { class: "row" }, act("kill", "Kill"), act("pause", "Pause"), act("resume", "Resume"), act("restart", "Restart")),
    el("td", {}, el("fieldset", { "aria-label": `Side of peer ${id}` }, choices)));
}

function update(tr, { state, code }) {
  tr.querySelector(".state").textContent = code === null ? state : `${state} (${code})`;
  const may = { kill: state !== "ended", pause: state === "running", resume: state === "paused", restart: true };
  for (const each of tr.querySelectorAll("button")) each.disabled = !may[each.dataset.do];
}

/** Peers by the side that is chosen for each; sides that nobody is on are left out. */
function sides(rows) {
  const chosen = SIDES.map(() => []);
  for (const tr of rows.children) chosen[Number(tr.querySelector("input:checked").value)].push(Number(tr.dataset.peer));
  return chosen.filter((side) => side.length);
}
