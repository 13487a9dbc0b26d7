// The log of all peers, in words, with a filter.
import { clock, colour, el, whileShown } from "./dom.js";
import { sentence } from "../model/words.js";

const ROWS_MAX = 400;

export function mount(root, { model }) {
  const peer = el("select", { "aria-label": "Peer" });
  const words = el("input", { type: "search", placeholder: "words, like vote or learner", "aria-label": "Filter" });
  const count = el("span", { class: "dim" });
  const rows = el("tbody");
  root.append(
    el("div", { class: "row" }, peer, words, count),
    el("table", { class: "log" }, el("thead", { class: "sr" }, el("tr", {}, ["Time", "Peer", "What"].map((name) => el("th", {}, name)))), rows));
  let known = "";
  let last = "";
  const render = () => {
    const ids = model.ids();
    if (known !== ids.join()) {
      known = ids.join();
      peer.replaceChildren(el("option", { value: "" }, "all peers"), ...ids.map((id) => el("option", { value: id }, `peer ${id}`)));
    }
    const wanted = words.value.trim().toLowerCase();
    const all = model.events(peer.value ? Number(peer.value) : null);
    const found = [];
    for (let at = all.length - 1; at >= 0 && found.length < ROWS_MAX; at--) {
      const text = sentence(all[at].fact);
      if (!wanted || `${all[at].fact.event} ${text}`.toLowerCase().includes(wanted)) found.push([all[at], text]);
    }
    const key = `${peer.value}|${wanted}|${all.length}|${found[0]?.[0].wall_ms}|${found.length}`;
    if (key === last) return;
    last = key;
    count.textContent = `${found.length} of ${all.length}, the newest first`;
    rows.replaceChildren(...found.map(([frame, text]) => row(frame, text)));
  };
  peer.addEventListener("change", render);
  words.addEventListener("input", render);
  return whileShown(model, render);
}

function row({ peer, wall_ms, fact }, text) {
  const name = el("td", {}, peer ? `peer ${peer}` : "—");
  name.style.color = colour(peer);
  return el("tr", { "data-event": fact.event }, el("td", { class: "num dim mono" }, clock(wall_ms)), name, el("td", {}, text));
}
