// ZooKeeper's encoding (jute): big-endian, as far as a session needs it.

const FIRST_BYTES = 128;

/** Writes one record. */
export class Writer {
  #bytes = new Uint8Array(FIRST_BYTES);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  #room(count) {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }

  int(value) {
    this.#view.setInt32(this.#room(4), value);
    return this;
  }

  long(value) {
    this.#view.setBigInt64(this.#room(8), BigInt(value));
    return this;
  }

  bool(value) {
    this.#view.setUint8(this.#room(1), value ? 1 : 0);
    return this;
  }

  /** Bytes, or null. */
  buffer(value) {
    if (value === null) return this.int(-1);
    this.int(value.length);
    this.#bytes.set(value, this.#room(value.length));
    return this;
  }

  string(value) {
    return this.buffer(new TextEncoder().encode(value));
  }

  vector(values, write) {
    this.int(values.length);
    for (const value of values) write(this, value);
    return this;
  }

  done() {
    return this.#bytes.slice(0, this.#length);
  }
}

/** Reads one record; raises RangeError when it ends too early. */
export class Reader {
  #view;
  #at = 0;

  constructor(data) {
    this.#view = new DataView(data);
  }

  #take(count) {
    const at = this.#at;
    this.#at += count;
    return at;
  }

  int() {
    return this.#view.getInt32(this.#take(4));
  }

  long() {
    return this.#view.getBigInt64(this.#take(8));
  }

  bool() {
    return this.#view.getUint8(this.#take(1)) !== 0;
  }

  buffer() {
    const size = this.int();
    if (size < 0) return null;
    const at = this.#take(size);
    if (at + size > this.#view.byteLength) throw new RangeError("the record ends inside a buffer");
    return new Uint8Array(this.#view.buffer.slice(at, at + size));
  }

  string() {
    return new TextDecoder().decode(this.buffer() ?? new Uint8Array());
  }

  vector(read) {
    const count = this.int();
    const found = [];
    for (let i = 0; i < count; i++) found.push(read(this));
    return found;
  }

  /** A Stat, by the names ZooKeeper gives its fields. */
  stat() {
    return {
      czxid: this.long(), mzxid: this.long(), ctime: Number(this.long()), mtime: Number(this.long()),
      version: this.int(), cversion: this.int(), aversion: this.int(), ephemeralOwner: this.long(),
      dataLength: this.int(), numChildren: this.int(), pzxid: this.long(),
    };
  }
}
