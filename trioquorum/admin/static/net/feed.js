// One WebSocket to every peer: what it says goes to the model, what the page asks goes to it.
import { decode, encode } from "../lib/msgpack/index.mjs";

const PROTOCOL = "trioquorum.feed";
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 5000;
const CATCH_UP_MS = 1500; // a peer answers no more than one history a second

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

const isAdmin = (admin) => typeof admin === "string" && /^https?:\/\//.test(admin);

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
      if (!isAdmin(admin) || known?.admin === admin || this.#stopped) continue;
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
  #started_ms = 0; // of the process that `#next_seq` is of
  #next_seq = 0; // of the event that comes next, if none is missing
  #since_seq = Infinity; // from where on events are missing
  #asking = null; // the timer of a history that is going to be asked for
  #pending = false; // it was, and is not all here

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
      if (!this.#next_seq) this.#ask(0);
    };
    socket.onmessage = ({ data }) => {
      if (!this.#closed) this.#read(socket, data);
    };
    socket.onclose = () => {
      this.open = false;
      this.#lost();
      if (this.#closed) return;
      this.#model.linkIs(this.id, "lost");
      setTimeout(() => this.#dial(), this.#retry_ms);
      this.#retry_ms = Math.min(this.#retry_ms * 1.6, RETRY_MAX_MS);
    };
    this.#socket = socket;
  }

  /** Whoever says what makes no sense is not listened to any further, and dialled again later. */
  #read(socket, data) {
    try {
      for (const frame of framesOf(data)) this.#take(frame);
    } catch (error) {
      this.#retry_ms = RETRY_MAX_MS;
      socket.close();
      throw error;
    }
  }

  #take(frame) {
    if (frame.frame === "snapshot") this.#began(frame);
    else if (frame.frame === "event" && frame.seq >= 0) this.#numbered(frame.seq);
    else if (frame.frame === "history" && frame.last) this.#pending = false;
    else if (frame.frame === "problem" && frame.what === "history") this.#missed(0);
    this.#model.take(this.id, frame);
    if (frame.fact?.event === "membership_changed") this.send({ ask: "snapshot" });
  }

  /** The first frame of a feed, or what was asked for since. */
  #began({ started_wall_ms, members, next_seq }) {
    if (started_wall_ms !== this.#started_ms) this.#next_seq = 0;
    this.#started_ms = started_wall_ms;
    this.#model.linkIs(this.id, "live");
    this.#all.follow(members);
    if (this.#next_seq < next_seq && !this.#pending) this.#missed(this.#next_seq, 0);
    this.#next_seq = Math.max(this.#next_seq, next_seq);
  }

  /** Numbers have gaps where the feed was away, or the page too slow. */
  #numbered(seq) {
    if (seq > this.#next_seq) this.#missed(this.#next_seq);
    this.#next_seq = Math.max(this.#next_seq, seq + 1);
  }

  /** Ask for the events from a number on. */
  #missed(since_seq, wait_ms = CATCH_UP_MS) {
    this.#since_seq = Math.min(this.#since_seq, since_seq);
    this.#asking ??= setTimeout(() => {
      this.#asking = null;
      this.#ask(this.#since_seq);
    }, wait_ms);
  }

  #ask(since_seq) {
    this.#pending = this.send({ ask: "history", since_seq });
    this.#since_seq = Infinity;
  }

  #lost() {
    if (this.#pending || this.#asking !== null) this.#next_seq = 0;
    clearTimeout(this.#asking);
    this.#asking = null;
    this.#pending = false;
    this.#since_seq = Infinity;
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
