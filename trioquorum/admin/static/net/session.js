// A ZooKeeper session over WebSocket: a real client, with its ACLs and watches.
import { protocols, socketUrl } from "./feed.js";
import { Reader, Writer } from "./jute.js";

const TIMEOUT_MS = 10000;
const RETRY_MS = 700;
const PINGS_PER_TIMEOUT = 3;
const WAITING_MAX = 1000; // requests without a reply yet
const SILENCE_PART = 2 / 3; // of the timeout: a peer that says nothing for so long is left, before the session expires
const GREETING_MS = 3000; // from dialling to the answer
const LOGINS_MAX = 20;
const WATCHES_MAX = 1000; // paths in one message

const XID = { watch: -1, ping: -2, auth: -4, setWatches: -8 };
const OP = { create: 15, delete: 2, getData: 4, setData: 5, getACL: 6, setACL: 7, getChildren: 12, ping: 11, auth: 100, setWatches: 101, close: -11 };

export const ERRORS = {
  "-2": "the server cannot do that now", "-4": "the connection was lost", "-6": "not implemented", "-8": "bad arguments", "-101": "there is no such node",
  "-102": "no permission: the node's ACL does not allow it", "-103": "another version is there by now", "-108": "ephemeral nodes have no children",
  "-110": "there is such a node already", "-111": "it has children", "-112": "the session has expired", "-114": "the ACL makes no sense",
  "-115": "authentication failed", "-118": "the session moved", "-125": "a quota is exceeded",
};

export const EVENTS = { 1: "created", 2: "deleted", 3: "changed", 4: "has other children" };

/** What a server answered with an error code. */
export class ZooKeeperError extends Error {
  constructor(code) {
    super(ERRORS[code] ?? `error ${code}`);
    this.code = code;
  }
}

/**
 * Events: "state" (`state` is connecting, connected or lost), "watch" (detail: {type, path}). Calls reject with
 * ZooKeeperError; when the connection is lost they reject with code -4 and may or may not have happened.
 */
export class Session extends EventTarget {
  state = "lost";
  id = 0n;
  peer = null;
  #password = new Uint8Array(16);
  #token;
  #choose;
  #socket = null;
  #xid = 0;
  #waiting = new Map();
  #pinging = null;
  #last = 0n;
  #logins = new Set();
  #loggingIn = []; // replies to logins have one xid, and come in their order
  #timeout_ms = TIMEOUT_MS;
  #heard_ms = 0;
  #watched = { data: new Set(), child: new Set() };
  #closed = false;

  /** `choose` gives `[id, admin URL]` of the peer to dial next, or null; it is told which peer failed last. */
  constructor(choose, token) {
    super();
    this.#choose = choose;
    this.#token = token;
    this.#dial();
  }

  #dial() {
    if (this.#closed) return;
    const chosen = this.#choose(this.peer);
    if (!chosen) return setTimeout(() => this.#dial(), RETRY_MS);
    this.#is("connecting");
    [this.peer] = chosen;
    const socket = new WebSocket(socketUrl(chosen[1], "/client"), protocols("trioquorum.client", this.#token));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(new Writer().int(0).long(this.#last).int(TIMEOUT_MS).long(this.id).buffer(this.#password).bool(false).done());
    socket.onmessage = ({ data }) => {
      this.#heard_ms = Date.now();
      if (this.state === "connecting") this.#greeted(new Reader(data));
      else this.#answered(new Reader(data));
    };
    socket.onclose = () => { if (socket === this.#socket) this.#ended(); };
    this.#socket = socket;
    setTimeout(() => {
      if (socket === this.#socket && this.state === "connecting") this.#leave();
    }, GREETING_MS);
  }

  #greeted(reader) {
    reader.int();
    const timeout_ms = reader.int();
    this.id = reader.long();
    this.#password = reader.buffer();
    if (timeout_ms <= 0) { // expired: begin anew
      this.id = 0n;
      this.#password = new Uint8Array(16);
      this.#watched = { data: new Set(), child: new Set() };
      this.#socket.close();
      return;
    }
    this.#timeout_ms = timeout_ms;
    this.#pinging = setInterval(() => this.#ping(), timeout_ms / PINGS_PER_TIMEOUT / 2);
    this.#is("connected");
    for (const login of this.#logins) this.#authenticate(login).catch(() => {});
    const [data, child] = [[...this.#watched.data], [...this.#watched.child]];
    for (let at = 0; at < Math.max(data.length, child.length); at += WATCHES_MAX) {
      const part = (w, paths) => w.vector(paths.slice(at, at + WATCHES_MAX), (out, path) => out.string(path));
      this.#send(XID.setWatches, OP.setWatches, (w) => part(part(part(w.long(this.#last), data), []), child));
    }
  }

  /** A peer that stands still keeps its connections: who hears nothing from it goes to another. */
  #ping() {
    if (Date.now() - this.#heard_ms < this.#timeout_ms * SILENCE_PART) {
      this.#send(XID.ping, OP.ping);
      return;
    }
    this.#leave();
  }

  #leave() {
    this.#socket.close();
    this.#ended();
  }

  #ended() {
    clearInterval(this.#pinging);
    this.#socket = null; // its closing may still be told, much later
    for (const { reject } of [...this.#waiting.values(), ...this.#loggingIn]) reject(new ZooKeeperError(-4));
    this.#waiting.clear();
    this.#loggingIn = [];
    this.#is("lost");
    setTimeout(() => this.#dial(), RETRY_MS);
  }

  #answered(reader) {
    const xid = reader.int();
    const zxid = reader.long();
    const error = reader.int();
    if (zxid > 0n) this.#last = zxid;
    if (xid === XID.watch) {
      const [type, , path] = [reader.int(), reader.int(), reader.string()];
      for (const set of [this.#watched.data, this.#watched.child]) set.delete(path);
      this.dispatchEvent(new CustomEvent("watch", { detail: { type, path } }));
      return;
    }
    const waiting = xid === XID.auth ? this.#loggingIn.shift() : this.#waiting.get(xid);
    this.#waiting.delete(xid);
    if (!waiting) return;
    if (error) waiting.reject(new ZooKeeperError(error));
    else waiting.resolve({ zxid, ...waiting.read(reader) });
  }

  #send(xid, op, write = (w) => w) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(write(new Writer().int(xid).int(op)).done());
    return true;
  }

  #call(op, write, read = () => ({}), xid = ++this.#xid) {
    return new Promise((resolve, reject) => {
      const waiting = { resolve, reject, read };
      const full = this.#waiting.size + this.#loggingIn.length >= WAITING_MAX;
      if (this.state !== "connected" || full || !this.#send(xid, op, write)) reject(new ZooKeeperError(-4));
      else if (xid === XID.auth) this.#loggingIn.push(waiting);
      else this.#waiting.set(xid, waiting);
    });
  }

  #is(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  async getData(path, watch) {
    const found = await this.#call(OP.getData, (w) => w.string(path).bool(watch), (r) => ({ data: r.buffer(), stat: r.stat() }));
    if (watch) this.#watched.data.add(path);
    return found;
  }

  async getChildren(path, watch) {
    const found = await this.#call(OP.getChildren, (w) => w.string(path).bool(watch), (r) => ({ children: r.vector((each) => each.string()), stat: r.stat() }));
    if (watch) this.#watched.child.add(path);
    return found;
  }

  getACL(path) {
    return this.#call(OP.getACL, (w) => w.string(path), (r) => ({ acl: r.vector((each) => ({ perms: each.int(), scheme: each.string(), id: each.string() })) }));
  }

  setACL(path, acl) {
    return this.#call(OP.setACL, (w) => written(w.string(path), acl).int(-1));
  }

  setData(path, data, version) {
    return this.#call(OP.setData, (w) => w.string(path).buffer(data).int(version), (r) => ({ stat: r.stat() }));
  }

  /** Flags: 0 persistent, 1 ephemeral, 2 sequential, 3 both. */
  create(path, data, flags, acl) {
    return this.#call(OP.create, (w) => written(w.string(path).buffer(data), acl).int(flags), (r) => ({ path: r.string() }));
  }

  delete(path, version) {
    return this.#call(OP.delete, (w) => w.string(path).int(version));
  }

  /** Log in by digest, `user:password`; again by itself after each reconnection. */
  async login(text) {
    await this.#authenticate(text);
    if (this.#logins.size < LOGINS_MAX) this.#logins.add(text);
  }

  #authenticate(text) {
    return this.#call(OP.auth, (w) => w.int(0).string("digest").buffer(new TextEncoder().encode(text)), undefined, XID.auth);
  }

  /** End the session: its ephemeral nodes go. */
  close() {
    this.#closed = true;
    this.#send(++this.#xid, OP.close);
    this.#socket?.close();
  }
}

function written(writer, acl) {
  return writer.vector(acl, (out, { perms, scheme, id }) => out.int(perms).string(scheme).string(id));
}
