// Runs dirty.mjs over the golden vectors: `node vectors.mjs FOLDER`. Prints one line a failure and a count; exits 1 on a failure.

import fs from "node:fs";
import path from "node:path";
import { TYPE, Ext, Float, FrameReader, decode, encode, frame } from "./dirty.mjs";

const CODES = { array: 0x31, datetime: 0x32, decimal: 0x33, uuid: 0x34, set: 0x35, frozenset: 0x36 };
const NAMES = Object.fromEntries(Object.entries(CODES).map(([name, code]) => [code, name]));

// Floats are compared as their bytes, since NaNs differ in these only; so they are noted from the bytes of the value.
function note(value) {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "bigint") return { [BigInt.asIntN(64, value) === value ? "int" : "integer"]: String(value) };
  if (typeof value === "number") return { float: encode(new Float(value)).subarray(1).toString("hex") };
  if (value instanceof Uint8Array) return { bytes: value.toString("hex") };
  if (Array.isArray(value)) return value.map(note);
  if (value instanceof Map) return { dict: [...value].map(([key, item]) => [key, note(item)]) };
  const name = NAMES[value.code];
  if (name === "array") return { array: { type: value.type, shape: value.shape, data: value.data.toString("hex") } };
  if (name === "datetime") return { datetime: { microseconds: String(value.microseconds), offset: value.offset } };
  return { [name]: value.text ?? value.hex ?? value.items.map(note) };
}

function value(noted) {
  if (noted === null || typeof noted !== "object") return noted;
  if (Array.isArray(noted)) return noted.map(value);
  const [[kind, content]] = Object.entries(noted);
  switch (kind) {
    case "int": case "integer": return BigInt(content);
    case "float": return new Float(Buffer.from(content, "hex").readDoubleBE());
    case "bytes": return Buffer.from(content, "hex");
    case "dict": return new Map(content.map(([key, item]) => [key, value(item)]));
    case "array": return new Ext(CODES[kind], { ...content, data: Buffer.from(content.data, "hex") });
    case "datetime": return new Ext(CODES[kind], { microseconds: BigInt(content.microseconds), offset: content.offset });
    case "decimal": return new Ext(CODES[kind], { text: content });
    case "uuid": return new Ext(CODES[kind], { hex: content });
    default: return new Ext(CODES[kind], { items: content.map(value) });
  }
}

const failures = [];
let count = 0;
function check(vector, what, got, expected) {
  if (JSON.stringify(got) !== JSON.stringify(expected)) failures.push(`${vector.name}: ${what} ${JSON.stringify(got)}`);
}

const isNaNBytes = (noted) => noted?.float && Number.isNaN(value(noted).value);

function checkValue(vector, data) {
  const decoded = decode(data);
  if (isNaNBytes(vector.value)) return check(vector, "decodes to", Number.isNaN(decoded), true);
  check(vector, "decodes to", note(decoded), vector.value);
  if (!vector.decode_only) check(vector, "encodes to", encode(value(vector.value)).toString("hex"), vector.hex);
}

function refusal(action) {
  try { action(); } catch (error) { return error.kind ? [error.kind, error.offset] : String(error); }
  return "no error";
}

function receive(data, limits) {
  const reader = new FrameReader(limits);
  for (const byte of data) for (const f of reader.receive(Buffer.of(byte))) if (f.payload.length || f.type < 5) decode(f.payload, limits);
  reader.end();
}

function checkMessage(vector, data) {
  for (let cut = 0; cut <= data.length; cut++) {
    const reader = new FrameReader();
    const [f, ...more] = [...reader.receive(data.subarray(0, cut)), ...reader.receive(data.subarray(cut))];
    check(vector, `cut at ${cut} gives`, [f.type, String(f.id), more.length], [TYPE[vector.type], vector.request_id, 0]);
    if (cut) continue;
    const payload = f.payload.length ? decode(f.payload) : undefined;
    if (!vector.decode_only) check(vector, "encodes to", frame(f.type, f.id, payload && value(note(payload))).toString("hex"), vector.hex);
    const fields = vector.type === "ERROR" ? payload.get("error") : payload;
    for (const [name, noted] of Object.entries(vector.fields)) {
      if (fields.has("shared") && !fields.has(name)) continue; // it lies in shared memory, and is empty here
      if (!vector.decode_only) check(vector, name, note(fields.get(name)), noted);
    }
  }
}

const CHECKS = {
  "values.json": checkValue,
  "extensions.json": checkValue,
  "messages.json": checkMessage,
  "invalid_values.json": (v, data) => check(v, "gives", refusal(() => decode(data, v.limits)), [v.error, v.offset]),
  // What a message lacks is for its user to see: the client has no classes of messages.
  "invalid_frames.json": (v, data) => v.layer === "message" || check(v, "gives", refusal(() => receive(data, v.limits)), [v.error, v.offset]),
};
for (const [name, run] of Object.entries(CHECKS)) {
  for (const vector of JSON.parse(fs.readFileSync(path.join(process.argv[2], name), "utf8")).vectors) {
    count++;
    try { run(vector, Buffer.from(vector.hex, "hex")); } catch (error) { failures.push(`${vector.name}: ${error.stack}`); }
  }
}
for (const failure of failures) console.log(failure);
console.log(`${count} vectors, ${failures.length} failures`);
process.exitCode = failures.length ? 1 : 0;
