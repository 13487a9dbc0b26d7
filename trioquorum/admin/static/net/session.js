// A ZooKeeper session over WebSocket: a real client, with its ACLs and watches.
import { protocols, socketUrl } from "./feed.js";
import { Reader, Writer } from "./jute.js";

const TIMEOUT_MS = 10000;
const RETRY_MS = 700;
const PINGS_PER_TIMEOUT = 3;
const WAITING_MAX = 1000; // requests without a reply yet

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
  #auth = [];
  #watched = { data: new Set(), child: new Set() };
  #closed = false;

  /** `choose` gives `[id, admin URL]` of the peer to dial next, or null. */
  constructor(choose, token) {
    super();
    this.#choose = choose;
    this.#token = token;
    this.#dial();
  }

  #dial() {
    if (this.#closed) return;
    const chosen = this.#choose();
    if (!chosen) return setTimeout(() => this.#dial(), RETRY_MS);
    this.#is("connecting");
    [this.peer] = chosen;
    const socket = new WebSocket(socketUrl(chosen[1], "/client"), protocols("trioquorum.client", this.#token));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(new Writer().int(0).long(this.#last).int(TIMEOUT_MS).long(this.id).buffer(this.#password).bool(false).done());
    socket.onmessage = ({ data }) => {
      if (this.state === "connecting") this.#greeted(new Reader(data));
      else this.#answered(new Reader(data));
    };
    socket.onclose = () => this.#ended();
    this.#socket = socket;
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
    this.#pinging = setInterval(() => this.#send(XID.ping, OP.ping), timeout_ms / PINGS_PER_TIMEOUT);
    this.#is("connected");
    for (const login of this.#auth) this.#authenticate(login).catch(() => {});
    if (this.#watched.data.size || this.#watched.child.size) {
      const paths = (w, set) => w.vector([...set], (out, path) => out.string(path));
      this.#send(XID.setWatches, OP.setWatches, (w) => paths(paths(paths(w.long(this.#last), this.#watched.data), new Set()), this.#watched.child));
    }
  }

  #ended() {
    clearInterval(this.#pinging);
    for (const { reject } of this.#waiting.values()) reject(new ZooKeeperError(-4));
    this.#waiting.clear();
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
    const waiting = this.#waiting.get(xid);
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
      if (this.state !== "connected" || this.#waiting.size >= WAITING_MAX || !this.#send(xid, op, write)) reject(new ZooKeeperError(-4));
      else this.#waiting.set(xid, { resolve, reject, read });
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
    this.#auth.push(text);
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
