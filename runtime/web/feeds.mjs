// Feeds made up for a transformer's graph, by the rules of toolkit/bundle/feeds.py.

import { generator } from "./random.mjs";

const SAFE_ROWS = 1000; // ids below it are valid in any real vocabulary
const MASKS = ["attention_mask", "encoder_attention_mask"];
const OTHER_INPUTS = ["attention_mask", "token_type_ids", "position_ids"];
const ARRAYS = {
  bool: Uint8Array,
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  uint32: Uint32Array,
  int32: Int32Array,
  uint64: BigUint64Array,
  int64: BigInt64Array,
  float16: globalThis.Float16Array ?? Uint16Array,
  float32: Float32Array,
  float64: Float64Array,
};
const HALF_ONE = 0x3c00; // 1.0, where a half is kept as its bits

// The input that carries token ids: `named`, else the one that looks like it.
export function idsInput(inputs, named) {
  if (named) return named;
  const names = inputs.map((info) => info.name);
  if (names.includes("input_ids")) return "input_ids";
  const found = inputs.find(
    ({ name, type }) => ["int32", "int64"].includes(type) && !OTHER_INPUTS.includes(name),
  );
  return found?.name;
}

// Fresh ids for every call: with the same ones again, most of a table would stay unread.
export class IdSource {
  // rows: vocabulary, 0 where unknown. stream: ids of real text, [] to draw ids instead.
  constructor({ rows, stream, seed }) {
    this.rows = rows || SAFE_ROWS;
    this.stream = stream;
    this.at = 0;
    this.random = generator(seed);
  }

  // [texts][tokens], id k as often as 1 / k where they are drawn.
  next(texts, tokens) {
    return Array.from({ length: texts }, () => Array.from({ length: tokens }, () => this.one()));
  }

  one() {
    if (this.stream.length) return this.stream[this.at++ % this.stream.length];
    const power = this.random() * Math.log(Math.max(this.rows, 2));
    return Math.min(Math.floor(Math.exp(power)), this.rows - 1);
  }
}

// `ids` [texts][tokens] with full masks, zero types, increasing positions, an empty cache.
export function buildFeeds(ort, inputs, idsName, ids) {
  const [texts, tokens] = [ids.length, ids[0].length];
  const feeds = {};
  for (const { name, type, shape } of inputs) {
    const dims = shape.map((size, axis) => dimension(name, axis, size, texts, tokens));
    const count = dims.reduce((product, size) => product * size, 1);
    let value = () => 0;
    if (name === idsName) {
      needs(name, dims, [texts, tokens]);
      const flat = ids.flat();
      value = (at) => flat[at];
    } else if (MASKS.includes(name)) value = () => 1;
    else if (name === "position_ids") value = (at) => at % dims.at(-1);
    feeds[name] = tensor(ort, type, dims, count, value);
  }
  return feeds;
}

// Whether an input carries keys and values of the tokens before.
export function isCache(name) {
  return name.startsWith("past") || name.includes("cache");
}

// A tensor whose numbers are value(0), value(1), … in any of the types that a graph may take.
export function tensor(ort, type, dims, count, value) {
  const Values = ARRAYS[type];
  if (!Values) throw new Error(`an input has type ${type}, which cannot be made up`);
  const values = new Values(count);
  const wide = Values === BigInt64Array || Values === BigUint64Array;
  const bits = type === "float16" && Values === Uint16Array;
  for (let at = 0; at < count; at++) {
    const number = value(at);
    values[at] = wide ? BigInt(number) : bits ? number * HALF_ONE : number;
  }
  return new ort.Tensor(type, values, dims);
}

function dimension(name, axis, size, texts, tokens) {
  if (typeof size === "number" && size >= 0) return size;
  if (axis === 0) return texts;
  if (isCache(name)) return name.includes(".encoder.") ? tokens : 0;
  // "past_sequence_length" alone is empty; "past_sequence_length + 1" counts the text as well.
  const symbol = String(size);
  return symbol.includes("past") && !symbol.includes("+") ? 0 : tokens;
}

function needs(name, dims, [texts, tokens]) {
  for (const [fixed, asked, what] of [[dims[0], texts, "texts"], [dims[1], tokens, "tokens"]]) {
    if (fixed !== undefined && fixed !== asked)
      throw new Error(`input '${name}' takes exactly ${fixed} ${what}, asked for ${asked}; use ${fixed}`);
  }
}
