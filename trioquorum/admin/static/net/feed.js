// One WebSocket to every peer: what it says goes to the model, what the page asks goes to it.
import { decode, encode } from "../lib/msgpack/index.mjs";

const PROTOCOL = "trioquorum.feed";
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 5000;

/** The frames of a message: an array of maps; numbers are BigInt where a double could not hold them. */
export const framesOf = (data) => plain(decode(new Uint8Array(data), { useBigInt64: true }));

/** Decoded msgpack with numbers instead of the BigInts that need not be. */
export function plain(value) {
  if (typeof value === "bigint") return BigInt.asIntN(53, value) === value ? Number(value) : value;
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === "object" && !(value instanceof Uint8Array)) {
    for (const key in value) value[key] = plain(value[key]);
  }
  return value;
}

/** Subprotocols of a WebSocket to an admin port. */
export const protocols = (name, token) => (token ? [name, `token.${token}`] : [name]);

/** The WebSocket address of a path at an admin port's URL. */
export const socketUrl = (admin, path) => admin.replace(/^http/, "ws").replace(/\/$/, "") + path;

/** Feeds of all peers. Each is dialled again for ever, at most every `RETRY_MAX_MS`. */
export class Feeds {
  #model;
  #token;
  #feeds = new Map();
  #tracing = 0;
  #stopped = false;

  constructor(model, token) {
    this.#model = model;
    this.#token = token;
  }

  /** Keep a feed to each of `peers`, `[{id, admin}]`; those known already go on. */
  follow(peers) {
    for (const { id, admin } of peers) {
      const known = this.#feeds.get(id);
      if (!admin || known?.admin === admin || this.#stopped) continue;
      known?.close();
      this.#feeds.set(id, new Feed(id, admin, this.#token, this.#model, this));
    }
  }

  /** The admin port of a peer, or of any that is heard now. */
  adminOf(id) {
    return this.#feeds.get(id)?.admin ?? null;
  }

  /** Peers that are heard now. */
  heard() {
    return [...this.#feeds.values()].filter((feed) => feed.open).map((feed) => feed.id);
  }

  /** Ask one peer; false when it is not heard now. */
  ask(id, message) {
    return this.#feeds.get(id)?.send(message) ?? false;
  }

  /** Batches of transactions are told while anybody wants them. */
  trace(on) {
    const before = this.#tracing > 0;
    this.#tracing += on ? 1 : -1;
    if (before !== this.#tracing > 0) {
      for (const feed of this.#feeds.values()) feed.send({ ask: "trace", on: this.#tracing > 0 });
    }
  }

  get tracing() {
    return this.#tracing > 0;
  }

  /** Close all for good: a recording is looked at. */
  stop() {
    this.#stopped = true;
    for (const feed of this.#feeds.values()) feed.close();
  }
}

class Feed {
  open = false;
  #socket = null;
  #closed = false;
  #retry_ms = RETRY_FIRST_MS;
  #token;
  #model;
  #all;

  constructor(id, admin, token, model, all) {
    this.id = id;
    this.admin = admin;
    this.#token = token;
    this.#model = model;
    this.#all = all;
    this.#dial();
  }

  #dial() {
    if (this.#closed) return;
    this.#model.linkIs(this.id, "dialling");
    const socket = new WebSocket(socketUrl(this.admin, "/feed"), protocols(PROTOCOL, this.#token));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.open = true;
      this.#retry_ms = RETRY_FIRST_MS;
      if (this.#all.tracing) this.send({ ask: "trace", on: true });
      this.send({ ask: "history", since_seq: 0 });
    };
    socket.onmessage = ({ data }) => {
      for (const frame of framesOf(data)) this.#take(frame);
    };
    socket.onclose = () => {
      this.open = false;
      if (this.#closed) return;
      this.#model.linkIs(this.id, "lost");
      setTimeout(() => this.#dial(), this.#retry_ms);
      this.#retry_ms = Math.min(this.#retry_ms * 1.6, RETRY_MAX_MS);
    };
    this.#socket = socket;
  }

  #take(frame) {
    if (frame.frame === "snapshot") {
      this.#model.linkIs(this.id, "live");
      this.#all.follow(frame.members.map(({ id, admin }) => ({ id, admin })));
    }
    this.#model.take(this.id, frame);
  }

  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(encode(message));
    return true;
  }

  close() {
    this.#closed = true;
    this.#socket?.close();
  }
}
