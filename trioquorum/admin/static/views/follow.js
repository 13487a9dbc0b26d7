// One transaction from its request to its commit on every peer, as the feeds tell it.
import { big, zxidText } from "../model/state.js";
import { colour, el } from "./dom.js";

const WAIT_MS = 3000; // for peers to tell of it

export class Follower {
  root = el("div", { class: "follow" });
  #model;
  #feeds;
  #heard = [];

  constructor(model, feeds) {
    this.#model = model;
    this.#feeds = feeds;
    feeds.trace(true);
    model.addEventListener("event", ({ detail }) => {
      if (detail.fact.event === "proposed" || detail.fact.event === "committed") this.#heard.push(detail);
      if (this.#heard.length > 4000) this.#heard.splice(0, 2000);
    });
  }

  /** Tell of the write `zxid` to `path`; times are the browser's. */
  follow(path, zxid, sent_ms, replied_ms) {
    const until = Date.now() + WAIT_MS;
    const show = () => {
      const steps = this.#steps(zxid, sent_ms, replied_ms);
      this.root.replaceChildren(el("h3", {}, `Transaction ${zxidText(zxid)} to ${path}`), timeline(steps, sent_ms));
      const missing = this.#feeds.heard().length - steps.filter(({ kind }) => kind === "committed").length;
      if (missing > 0 && Date.now() < until) setTimeout(show, 120);
    };
    show();
  }

  #steps(zxid, sent_ms, replied_ms) {
    const steps = [{ ms: sent_ms, who: "browser", kind: "sent", text: "request sent" }];
    const done = new Set();
    for (const { peer, fact, wall_ms } of this.#heard) {
      if (fact.event === "proposed" && big(fact.first_zxid) <= zxid && zxid <= big(fact.last_zxid)) {
        steps.push({ ms: wall_ms, who: peer, kind: "proposed", text: "logged and proposed by the leader" });
      } else if (fact.event === "committed" && big(fact.zxid) >= zxid && big(fact.zxid) >> 32n === zxid >> 32n && !done.has(peer)) {
        done.add(peer);
        steps.push({ ms: wall_ms, who: peer, kind: "committed", text: "committed, applied" });
      }
    }
    steps.push({ ms: replied_ms, who: "browser", kind: "replied", text: "reply received" });
    const order = ["sent", "proposed", "committed", "replied"];
    return steps.sort((a, b) => a.ms - b.ms || order.indexOf(a.kind) - order.indexOf(b.kind));
  }
}

function timeline(steps, began_ms) {
  const last_ms = Math.max(1, ...steps.map(({ ms }) => ms - began_ms));
  return el("ol", { class: "timeline" }, steps.map(({ ms, who, kind, text }) => {
    const dot = el("span", { class: `dot dot-${kind}` });
    dot.style.marginLeft = `${(Math.max(0, ms - began_ms) / last_ms) * 60}%`;
    const name = el("b", {}, who === "browser" ? "this page" : `peer ${who}`);
    if (who !== "browser") name.style.color = colour(who);
    return el("li", { "data-kind": kind }, el("span", { class: "num dim at" }, `+${ms - began_ms} ms`), name, ` ${text}`, el("div", {}, dot));
  }));
}
