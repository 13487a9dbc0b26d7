// What the views of what peers tell have in common: a peer's name, words with zxids in them, a pace for drawing.
import { colour, el } from "./dom.js";

const PACE_MS = 250;
const PART = 3; // the rest of the time is so many times what drawing takes
const ZXID = /(?<![\w.:\]-])(\d+):(\d+)(?![\w.:])/;

/** Load a style sheet of the page, once. */
export function styled(href) {
  if (!document.querySelector(`link[href="${href}"]`)) document.head.append(el("link", { rel: "stylesheet", href }));
}

/** The name of a peer, in its colour; who strikes in a simulation, and the page itself, are peer 0. */
export function who(id) {
  const name = el("b", { class: "who" }, id ? `peer ${id}` : "—");
  name.style.color = colour(id);
  return name;
}

/** Words as nodes: every `epoch:counter` says in its title how ZooKeeper's tools write it. */
export function told(text) {
  const nodes = [];
  for (let rest = text; rest;) {
    const found = ZXID.exec(rest);
    if (!found) return [...nodes, rest];
    const hex = ((BigInt(found[1]) << 32n) | BigInt(found[2])).toString(16);
    nodes.push(rest.slice(0, found.index), el("span", { class: "told-zxid", title: `0x${hex}` }, found[0]));
    rest = rest.slice(found.index + found[0].length);
  }
  return nodes;
}

/** Event frames of all peers that `wanted` says yes to, by time; cheap even where most are batches of transactions. */
export function framesOf(
  model,
  wanted,
  { peers = [0, ...model.ids()], from_ms = -Infinity, to_ms = model.now_ms } = {},
) {
  const found = peers.flatMap((id) => model.events(id, from_ms, to_ms).filter(wanted));
  return found.sort((a, b) => a.wall_ms - b.wall_ms);
}

/** Make children of `parent` exactly `wanted`, moving nothing that is in place: focus and selection stay. */
export function arrange(parent, wanted) {
  let at = parent.firstChild;
  for (const child of wanted) {
    if (child === at) at = at.nextSibling;
    else parent.insertBefore(child, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/**
 * `draw`, but at most every `PACE_MS`, and when it is slow then no more than a part of the time, so that scrubbing goes
 * on: at once when it was not called for so long, else when that time is over.
 */
export function paced(draw) {
  let last_ms = -Infinity;
  let timer = null;
  const now = () => {
    timer = null;
    const began_ms = performance.now();
    draw();
    const took_ms = performance.now() - began_ms;
    last_ms = began_ms + took_ms + Math.max(0, PART * took_ms - PACE_MS);
  };
  return () => {
    if (timer !== null) return;
    const wait_ms = last_ms + PACE_MS - performance.now();
    if (wait_ms <= 0) now();
    else timer = setTimeout(now, wait_ms);
  };
}
