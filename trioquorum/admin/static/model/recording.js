// Recordings: files of msgpack objects, the head and then `[peer, frame]` by time. What is in one is not trusted.
import { decodeMulti, encode } from "../lib/msgpack/index.mjs";
import { plain } from "../net/feed.js";

const VERSION = 1;
const WORD = 2 ** 32;
const SNAPSHOT_LISTS = ["members", "links", "learners"];

/** A recording of all that a model knows, in parts. */
export function written(model, title) {
  const head = { recording: VERSION, kind: "live", title, members: model.members };
  return [head, ...model.dump()].map((each) => encode(whole(each), { useBigInt64: true }));
}

/** Large whole numbers as BigInt, so that they are not written as floating-point ones. */
function whole(value) {
  if (typeof value === "number") return Number.isSafeInteger(value) && Math.abs(value) >= WORD ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map(whole);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, whole(each)]));
}

/**
 * The head and the frames of a recording; frames of kinds that are not known are left out.
 * @param {Uint8Array} bytes
 * @returns {{head: object, frames: [number, object][]}}
 * @throws {Error} it is none, and why
 */
export function read(bytes) {
  const objects = decodeMulti(bytes, { useBigInt64: true });
  const head = plain(objects.next().value);
  if (head?.recording !== VERSION) throw new Error("it is no recording of this version");
  if (!Array.isArray(head.members) || !head.members.every(({ id }) => Number.isSafeInteger(id))) throw new Error("it names no members");
  const frames = [];
  for (const object of objects) {
    const [peer, frame] = Array.isArray(object) ? plain(object) : [];
    if (!Number.isSafeInteger(peer) || !Number.isFinite(frame?.wall_ms)) throw new Error(`object ${frames.length + 1} is no frame`);
    if (isKnown(frame)) frames.push([peer, frame]);
  }
  frames.sort((a, b) => a[1].wall_ms - b[1].wall_ms);
  return { head: { ...head, title: String(head.title ?? "") }, frames };
}

function isKnown(frame) {
  if (frame.frame === "event") return typeof frame.fact?.event === "string";
  if (frame.frame === "snapshot") return SNAPSHOT_LISTS.every((name) => Array.isArray(frame[name]));
  return frame.frame === "sample";
}
