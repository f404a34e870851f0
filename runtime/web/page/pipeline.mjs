// Text in; a vector, tokens or labels out: runtime/tasks/pipeline.py's rules, in a page.

import { idsInput, tensor } from "../feeds.mjs";
import { openModel } from "./model.mjs";

const OUTPUTS = {
  "feature-extraction": [[3, ["last_hidden_state", "token_embeddings"]], [2, ["sentence_embedding", "pooler_output"]]],
  "fill-mask": [[3, ["logits"]]],
  "text-classification": [[2, ["logits"]]],
};
const TOP = 5;
const TINY = 1e-12; // shortest length that is divided by

// Open a bundle as openModel does.
//
// Gives what openModel gives, and run; run(text) gives what the task gives, and how
// long the graph took: {ms, tokens, vector | masks | labels}.
export async function openPipeline({ bundle, manifest, data, libs, provider, threads }) {
  const known = OUTPUTS[manifest.task];
  if (!known) throw new Error(`a bundle for ${manifest.task} runs elsewhere, but this page has no view for it`);
  const model = await openModel({ bundle, manifest, data, libs, provider, threads });
  const parts = { ...model, manifest, output: findOutput(model.session, known) };
  return { ...model, run: (text) => run(parts, text) };
}

async function run({ ort, session, manifest, tokenizer, output }, text) {
  const { ids, types } = tokenizer.encode(text);
  const length = manifest.sequence ?? Math.max(1, ids.length);
  const padded = (row, fill) => [...row, ...Array(length - row.length).fill(fill)];
  const rows = {
    input_ids: padded(ids, tokenizer.padId),
    attention_mask: padded(ids.map(() => 1), 0),
    token_type_ids: padded(types, 0),
    position_ids: Array.from({ length }, (_, at) => at),
  };
  const texts = manifest.batch ?? 1; // where the graph wants several, copies of the one
  const inputs = session.inputMetadata;
  const wanted = idsInput(inputs, manifest.ids_input);
  const feeds = {};
  for (const { name, type } of inputs) {
    const row = rows[name === wanted ? "input_ids" : name];
    if (row) feeds[name] = tensor(ort, type, [texts, length], texts * length, (at) => row[at % length]);
  }
  const start = performance.now();
  const found = (await session.run(feeds))[output];
  const ms = performance.now() - start;
  const numbers = Float32Array.from(await found.getData(), Number).subarray(0, found.size / texts);
  return { ms, tokens: ids.length, ...read(manifest, tokenizer, rows, numbers, found.dims) };
}

function read(manifest, tokenizer, rows, numbers, dims) {
  if (manifest.task === "feature-extraction") {
    const pooling = manifest.pooling ?? { mode: "mean", normalize: false };
    const vector = dims.length === 3 ? pool(numbers, rows.attention_mask, pooling.mode) : [...numbers];
    return { vector: pooling.normalize ? unit(vector) : vector };
  }
  if (manifest.task === "fill-mask") {
    const width = dims[2];
    const places = rows.input_ids.flatMap((id, at) => (id === tokenizer.maskId ? [at] : []));
    return { masks: places.map((at) => best(softmax(numbers.subarray(at * width, (at + 1) * width)), tokenizer.textOf)) };
  }
  const { id2label, problem_type: problem } = tokenizer.config;
  const single = problem !== "multi_label_classification" && numbers.length > 1;
  const plain = problem === "regression";
  const scores = plain ? [...numbers] : single ? softmax(numbers) : [...numbers].map((x) => 1 / (1 + Math.exp(-x)));
  return { labels: best(scores, (at) => id2label?.[at] ?? `LABEL_${at}`) };
}

// [tokens x width] numbers -> one vector, over the tokens that are no padding.
export function pool(numbers, mask, modes) {
  const width = numbers.length / mask.length;
  const real = mask.flatMap((one, at) => (one ? [at] : []));
  const sum = (values, weight) => values.reduce((total, one, at) => total + one * weight(at), 0);
  const places = sum(real, () => 1) + real.length;
  const combine = {
    cls: (values) => values[0],
    max: (values) => Math.max(...values),
    mean: (values) => sum(values, () => 1 / values.length),
    mean_sqrt_len: (values) => sum(values, () => 1 / Math.sqrt(values.length)),
    weightedmean: (values) => sum(values, (at) => (real[at] + 1) / places),
    lasttoken: (values) => values.at(-1),
  };
  const vectors = modes.split("+").map((mode) => {
    if (!combine[mode]) throw new Error(`pooling '${mode}' is unknown to this page`);
    const column = (at) => real.map((row) => numbers[row * width + at]);
    return Array.from({ length: width }, (_, at) => (real.length ? combine[mode](column(at)) : 0));
  });
  return vectors.flat();
}

export function unit(vector) {
  const length = Math.max(Math.hypot(...vector), TINY);
  return vector.map((one) => one / length);
}

export function cosine(one, other) {
  const [a, b] = [unit(one), unit(other)];
  return a.reduce((sum, value, at) => sum + value * b[at], 0);
}

function softmax(numbers) {
  const top = numbers.reduce((most, one) => Math.max(most, one), -Infinity);
  const powers = Array.from(numbers, (one) => Math.exp(one - top));
  const sum = powers.reduce((total, one) => total + one, 0);
  return powers.map((one) => one / sum);
}

function best(scores, textOf) {
  const order = scores.map((score, at) => [score, at]).sort(([a], [b]) => b - a);
  return order.slice(0, TOP).map(([score, at]) => ({ text: textOf(at), score }));
}

function findOutput(session, known) {
  for (const [rank, names] of known) {
    const fits = session.outputMetadata.filter(({ shape }) => shape.length === rank);
    const named = names.find((name) => fits.some((info) => info.name === name));
    if (named ?? fits[0]?.name) return named ?? fits[0].name;
  }
  throw new Error(`the graph gives ${session.outputNames.join(", ")}, none of which this page can show`);
}
