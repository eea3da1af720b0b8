// A client of the dirty pool for Node, without dependencies: the codec and `DirtyClient` with call and stream.
// An example and a test of docs/protocol.md, written from that document; not a product.

import net from "node:net";

export const TYPE = { REQUEST: 1, RESPONSE: 2, ERROR: 3, CHUNK: 4, END: 5, CANCEL: 6, STASH: 0x10, STATUS: 0x11, MANAGE: 0x12 };
const TYPES = new Set(Object.values(TYPE));
export const LIMITS = { max_payload: 67108864, max_length: 67108864, max_items: 1048576, max_depth: 512, extensions: true };
const NUMBERS = [null, ["bool", 1], ["int8", 1], ["uint8", 1], ["int16", 2], ["uint16", 2], ["int32", 4], ["uint32", 4],
  ["int64", 8], ["uint64", 8], ["float16", 2], ["float32", 4], ["float64", 8]];
const DECIMAL = /^-?(?:[0-9]+(?:\.[0-9]+)?(?:E[+-]?[0-9]{1,18})?|Infinity|s?NaN[0-9]*)$/;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Bytes that are refused: `kind` and `offset` as in section 7 of the document. */
export class ProtocolError extends Error {
  constructor(kind, offset) { super(`${kind} at byte ${offset}`); Object.assign(this, { kind, offset }); }
}
/** An ERROR from the pool. */
export class DirtyError extends Error {
  constructor({ error_type, message, details }) { super(message); this.name = error_type; this.details = details; }
}
/** A float that is whole: `new Float(2)`. Decoded floats are plain numbers. */
export class Float { constructor(value) { this.value = value; } }
/** An extension value without a type in JavaScript: { code, …fields }. */
export class Ext { constructor(code, fields) { this.code = code; Object.assign(this, fields); } }

// ---- decoding: None null, bool, int BigInt, float number, str string, bytes Buffer, list Array, dict Map, the rest Ext
class Decoder {
  constructor(data, limits) { this.data = data; this.limits = { ...LIMITS, ...limits }; this.pos = 0; this.end = data.length; }
  take(count, at) {
    if (this.pos + count > this.end) throw new ProtocolError("truncated", at);
    this.pos += count;
    return this.data.subarray(this.pos - count, this.pos);
  }
  size(at) { return this.take(4, at).readUInt32BE(); }
  bytes(at) {
    const size = this.size(at);
    if (size > this.limits.max_length) throw new ProtocolError("too_long", at);
    return this.take(size, at);
  }
  count(at, room) {
    const count = this.size(at);
    if (count > this.limits.max_items) throw new ProtocolError("too_many_items", at);
    if (room < 1) throw new ProtocolError("too_deep", at);
    return count;
  }
  items(at, room) {
    const items = [];
    for (let left = this.count(at, room); left > 0; left--) items.push(this.value(room - 1));
    return items;
  }
  text(at) {
    const raw = this.bytes(at);
    try { return utf8.decode(raw); } catch { throw new ProtocolError("bad_utf8", at); }
  }
  value(room = this.limits.max_depth) {
    const at = this.pos;
    const code = this.take(1, at)[0];
    switch (code) {
      case 0x00: return null;
      case 0x01: return this.take(1, at)[0] !== 0;
      case 0x05: return this.take(8, at).readBigInt64BE();
      case 0x06: return this.take(8, at).readDoubleBE();
      case 0x10: return this.bytes(at);
      case 0x11: return this.text(at);
      case 0x20: return this.items(at, room);
      case 0x21: {
        const dict = new Map();
        for (let left = this.count(at, room); left > 0; left--) {
          const key = this.pos;
          if (this.take(1, key)[0] !== 0x11) throw new ProtocolError("key_not_str", key);
          const name = this.text(key);
          dict.set(name, this.value(room - 1));
        }
        return dict;
      }
    }
    if (code < 0x30 || code > 0x36) throw new ProtocolError("unknown_code", at);
    if (!this.limits.extensions) throw new ProtocolError("forbidden_code", at);
    const content = this.bytes(at);
    const value = code >= 0x35 ? this.set(code, content, at, room) : extension(code, content);
    if (value === undefined) throw new ProtocolError("bad_extension", at);
    return value;
  }
  set(code, content, at, room) {
    if (content.length < 4) return undefined;
    const outer = this.end;
    [this.pos, this.end] = [this.pos - content.length, this.pos];
    const items = this.items(at, room);
    if (this.pos !== this.end || !items.every(hashable)) return undefined;
    this.end = outer;
    return new Ext(code, { items });
  }
}

const hashable = (item) => Array.isArray(item) ? item.every(hashable)
  : !(item instanceof Map) && !(item instanceof Ext && (item.code === 0x31 || item.code === 0x35 || item.text?.includes("s")));

function extension(code, content) {
  const size = content.length;
  if (code === 0x30) {
    if (size < 9 || ((content[0] === 0 || content[0] === 0xff) && content[0] >> 7 === content[1] >> 7)) return undefined;
    return BigInt.asIntN(size * 8, BigInt("0x" + content.toString("hex")));
  }
  if (code === 0x31) {
    const [type, dims] = content;
    if (size < 2 || !NUMBERS[type] || dims > 32 || 2 + 4 * dims > size) return undefined;
    const shape = Array.from({ length: dims }, (_, i) => content.readUInt32BE(2 + 4 * i));
    const data = content.subarray(2 + 4 * dims);
    if (shape.reduce((product, n) => product * BigInt(n), BigInt(NUMBERS[type][1])) !== BigInt(data.length)) return undefined;
    if (type === 1 && data.some((byte) => byte > 1)) return undefined;
    return new Ext(code, { type: NUMBERS[type][0], shape, data });
  }
  if (code === 0x32 && size === 12) {
    const microseconds = content.readBigInt64BE(), offset = content.readInt32BE(8);
    const known = offset !== -2147483648;
    if (microseconds < -62135596800000000n || microseconds > 253402300799999999n) return undefined;
    return known && Math.abs(offset) >= 86400 ? undefined : new Ext(code, { microseconds, offset: known ? offset : null });
  }
  const text = content.toString("latin1");
  if (code === 0x33 && DECIMAL.test(text)) return new Ext(code, { text });
  return code === 0x34 && size === 16 ? new Ext(code, { hex: content.toString("hex") }) : undefined;
}

/** The value that a Buffer encodes, all of it. */
export function decode(data, limits) {
  const decoder = new Decoder(data, limits);
  const value = decoder.value();
  if (decoder.pos !== data.length) throw new ProtocolError("trailing", decoder.pos);
  return value;
}

// ---- encoding: the same types; numbers that are whole are ints, plain objects are dicts
function head(code, size) { const b = Buffer.alloc(5); b[0] = code; b.writeUInt32BE(size, 1); return b; }
const sized = (code, content) => Buffer.concat([head(code, content.length), content]);

/** The bytes of a value. */
export function encode(value) {
  if (value === null || value === undefined) return Buffer.of(0);
  if (typeof value === "boolean") return Buffer.of(1, value ? 1 : 0);
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) value = BigInt(value);
  if (typeof value === "bigint") return integer(value);
  if (typeof value === "number" || value instanceof Float) {
    const raw = Buffer.alloc(9, 6);
    return raw.writeDoubleBE(value.value ?? value, 1), raw;
  }
  if (typeof value === "string") return sized(0x11, Buffer.from(value));
  if (value instanceof Uint8Array) return sized(0x10, value);
  if (Array.isArray(value)) return Buffer.concat([head(0x20, value.length), ...value.map(encode)]);
  if (value instanceof Ext) return sized(value.code, content(value));
  const pairs = value instanceof Map ? [...value] : Object.entries(value);
  return Buffer.concat([head(0x21, pairs.length), ...pairs.flatMap(([key, item]) => [encode(String(key)), encode(item)])]);
}

function integer(value) {
  let size = 8;
  while (BigInt.asIntN(size * 8, value) !== value) size++;
  const raw = Buffer.from(BigInt.asUintN(size * 8, value).toString(16).padStart(size * 2, "0"), "hex");
  return size === 8 ? Buffer.concat([Buffer.of(5), raw]) : sized(0x30, raw);
}

function content(ext) {
  if (ext.code === 0x31) {
    const type = NUMBERS.findIndex((number) => number && number[0] === ext.type);
    return Buffer.concat([Buffer.of(type, ext.shape.length), ...ext.shape.map((n) => head(0, n).subarray(1)), ext.data]);
  }
  if (ext.code === 0x32) {
    const raw = Buffer.alloc(12);
    raw.writeBigInt64BE(ext.microseconds);
    return raw.writeInt32BE(ext.offset ?? -2147483648, 8), raw;
  }
  if (ext.code === 0x33 || ext.code === 0x34) return Buffer.from(ext.text ?? ext.hex, ext.text ? "latin1" : "hex");
  return Buffer.concat([head(0, ext.items.length).subarray(1), ...ext.items.map(encode)]);
}

// ---- frames
/** A whole frame; `payload` is a value, or undefined for an empty one. */
export function frame(type, id, payload) {
  const body = payload === undefined ? Buffer.alloc(0) : encode(payload);
  const header = Buffer.concat([Buffer.of(0x47, 0x44, 1, type), head(0, body.length).subarray(1), Buffer.alloc(8)]);
  header.writeBigUInt64BE(BigInt(id), 8);
  return Buffer.concat([header, body]);
}

/** Frames out of a stream: `receive(data)` returns those that are complete as { type, id, payload }. */
export class FrameReader {
  constructor(limits) { this.limits = { ...LIMITS, ...limits }; this.data = Buffer.alloc(0); this.offset = 0; }

  receive(data) {
    this.data = Buffer.concat([this.data, data]);
    const frames = [];
    while (this.data.length >= 16) {
      const { data, offset } = this, type = data[3], length = data.readUInt32BE(4);
      if (data.toString("latin1", 0, 2) !== "GD") throw new ProtocolError("bad_magic", offset);
      if (data[2] !== 1) throw new ProtocolError("bad_version", offset + 2);
      if (!TYPES.has(type)) throw new ProtocolError("unknown_type", offset + 3);
      if (length > this.limits.max_payload) throw new ProtocolError("too_long", offset + 4);
      if (data.length < 16 + length) break;
      frames.push({ type, id: data.readBigUInt64BE(8), payload: data.subarray(16, 16 + length) });
      [this.data, this.offset] = [data.subarray(16 + length), offset + 16 + length];
    }
    return frames;
  }
  end() { if (this.data.length) throw new ProtocolError("truncated", this.offset); }
}

/** A connection to an arbiter. Calls may overlap; each has its id. */
export class DirtyClient {
  constructor(path = process.env.GUNICORN_DIRTY_SOCKET) {
    const reader = new FrameReader();
    Object.assign(this, { nextId: 1n, waiting: new Map(), socket: net.connect(path) });
    this.socket.on("data", (data) => {
      try { for (const f of reader.receive(data)) this.waiting.get(f.id)?.(f); }
      catch (error) { this.socket.destroy(error); }
    });
    this.socket.on("error", (error) => { this.error = error; });
    this.socket.on("close", () => { for (const deliver of this.waiting.values()) deliver(null); });
  }

  /** What the action returns. */
  async call(app_path, action, args = [], kwargs = {}, options = {}) {
    for await (const item of this.stream(app_path, action, args, kwargs, options)) return item;
  }

  /** The chunks of a streamed answer (or the one result). Leaving the loop cancels the request. */
  async *stream(app_path, action, args = [], kwargs = {}, options = {}) {
    const id = this.nextId++;
    const queue = [];
    let wake = () => {}, done = false;
    this.waiting.set(id, (f) => { queue.push(f); wake(); });
    this.socket.write(frame(TYPE.REQUEST, id, { app_path, action, ...options, args, kwargs }));
    try {
      while (!done) {
        if (!queue.length) await new Promise((resolve) => { wake = resolve; });
        const f = queue.shift();
        done = !f || f.type !== TYPE.CHUNK;
        if (!f) throw this.error ?? new Error("the arbiter closed the connection");
        if (f.type === TYPE.END) return;
        const fields = decode(f.payload);
        if (f.type === TYPE.ERROR) throw new DirtyError(Object.fromEntries(fields.get("error")));
        yield f.type === TYPE.CHUNK ? fields.get("data") : fields.get("result");
      }
    } finally {
      this.waiting.delete(id);
      if (!done) this.socket.write(frame(TYPE.CANCEL, id));
    }
  }
  close() { this.socket.end(); }
}
