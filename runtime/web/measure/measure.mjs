// One measuring page: a job of runtime/profile/measure/job.py in, an answer of the same file out.
//
// A page measures once: the runtime's heap never shrinks, so a second job would start from the
// first one's.

import { buildFeeds, IdSource, idsInput } from "../feeds.mjs";
import { percentile } from "../figures.mjs";
import { heapBytes, openRuntime, pageBytes, reservedHeapBytes, warmRuntime } from "../ort.mjs";
import { listen, placements, profile } from "./placements.mjs";

const MEASURES = { values, time, cold, memory, places };
const PROFILED_CALLS = 10; // after a first one
const BREATH_MS = 200; // the page may draw and answer this often between calls

// `job.model` is an address here and `job.data` lie beside it. `dist`: where onnxruntime-web is.
//
// Downloads and the runtime's own start are no part of `load_ms`: the first hangs on the network,
// the second is the same for every model. «cold» has the download in it, from files that the
// caller dropped from the page cache.
export async function measure(job, { dist }) {
  if (!MEASURES[job.measure]) throw new Error(`measure ${job.measure} is unknown to this page`);
  const lines = job.measure === "places" ? listen() : [];
  const runtime = await openRuntime({ dist, provider: job.provider, threads: job.threads });
  await warmRuntime(runtime, job.provider);
  const run = { job, runtime, ort: runtime.ort, lines, figures: {}, outputs: {}, marks: [], facts: {} };
  run.facts = { isolated: self.crossOriginIsolated, browser: navigator.userAgent };
  if (runtime.adapter) run.facts.adapter = runtime.adapter;
  await MEASURES[job.measure](run);
  const { outputs, marks, facts } = run;
  const told = Object.entries(run.figures).filter(([, value]) => value !== null);
  return { runtime: runtime.name, figures: Object.fromEntries(told), outputs, marks, facts };
}

async function values(run) {
  const session = await load(run, await downloaded(run.job));
  const found = await call(run, session, run.job.ids);
  for (const [name, tensor] of Object.entries(found)) {
    const numbers = Float32Array.from(await tensor.getData(), Number);
    run.outputs[name] = { dims: [...tensor.dims], data: base64(numbers) };
  }
}

async function time(run) {
  const { job, figures } = run;
  const files = await downloaded(job);
  const source = new IdSource(job);
  const session = await timedLoad(run, files, source);
  for (const [texts, tokens] of job.grid) {
    for (let at = 0; at < job.warmup; at++) await call(run, session, source.next(texts, tokens));
    const times = await timedCalls(run, session, source, texts, tokens);
    const at = `${texts}x${tokens}`;
    for (const share of [50, 95, 99]) figures[`latency_${at}_p${share}_ms`] = percentile(times, share);
    const spent = times.reduce((sum, one) => sum + one, 0);
    figures[`throughput_${at}_tokens_s`] = (1e3 * texts * tokens * times.length) / spent;
    mark(run, `run ${at}`);
  }
}

async function cold(run) {
  await timedLoad(run, addresses(run.job), new IdSource(run.job));
}

async function memory(run) {
  const { job, figures } = run;
  const before = await held(run);
  figures.before_wasm_heap_bytes = before.heap;
  figures.before_page_bytes = before.page;
  // By address, the runtime lets go of what it has read; bytes that the page holds stay with it.
  const session = await load(run, job.load === "bytes" ? await downloaded(job) : addresses(job));
  add(figures, "load", before, await held(run));
  const source = new IdSource(job);
  for (const [texts, tokens] of job.grid) {
    // What a length needs is taken in its first calls.
    for (let at = 0; at < Math.max(1, job.warmup); at++)
      await call(run, session, source.next(texts, tokens));
  }
  mark(run, "steady");
  add(figures, "steady", before, await held(run));
  run.facts.wasm_heap_reserved_bytes = reservedHeapBytes();
}

// On a GPU a node's time is that of asking for it, so none is taken there.
async function places(run) {
  const { job, lines, facts } = run;
  const enableProfiling = job.provider === "wasm";
  const session = await load(run, await downloaded(job), { logSeverityLevel: 0, enableProfiling });
  Object.assign(facts, placements(lines));
  if (enableProfiling) {
    const source = new IdSource(job);
    const [texts, tokens] = job.grid.at(-1);
    for (let at = 0; at <= PROFILED_CALLS; at++) await call(run, session, source.next(texts, tokens));
    session.endProfiling();
    Object.assign(facts, profile(lines));
  }
  await session.release();
}

async function timedLoad(run, files, source) {
  const [texts, tokens] = run.job.grid[0];
  const start = performance.now();
  const session = await load(run, files);
  const loaded = performance.now();
  const feeds = feedsOf(run, session, source.next(texts, tokens));
  const first = performance.now();
  await session.run(feeds);
  run.figures.load_ms = loaded - start;
  run.figures.first_result_ms = loaded - start + performance.now() - first;
  mark(run, "first result");
  return session;
}

async function load(run, { model, externalData }, more = {}) {
  const { provider, settings, dimensions } = run.job;
  const session = await run.ort.InferenceSession.create(model, {
    executionProviders: [{ name: provider, ...settings }],
    externalData,
    freeDimensionOverrides: dimensions,
    logSeverityLevel: 3,
    ...more,
  });
  mark(run, "load");
  return session;
}

async function timedCalls(run, session, source, texts, tokens) {
  const times = [];
  let breath = performance.now();
  for (let at = 0; at < run.job.runs; at++) {
    if (performance.now() - breath > BREATH_MS) {
      await new Promise((resolve) => setTimeout(resolve));
      breath = performance.now();
    }
    const feeds = feedsOf(run, session, source.next(texts, tokens));
    const start = performance.now();
    await session.run(feeds);
    times.push(performance.now() - start);
  }
  return times;
}

function call(run, session, ids) {
  return session.run(feedsOf(run, session, ids));
}

function feedsOf({ ort, job }, session, ids) {
  const inputs = session.inputMetadata;
  return buildFeeds(ort, inputs, idsInput(inputs, job.ids_input), ids);
}

function addresses({ model, data }) {
  const beside = (name) => new URL(name, new URL(model, location.href)).href;
  return { model: new URL(model, location.href).href, externalData: data.map((path) => ({ path, data: beside(path) })) };
}

async function downloaded(job) {
  const { model, externalData } = addresses(job);
  const files = externalData.map(async ({ path, data }) => ({ path, data: await bytes(data) }));
  return { model: await bytes(model), externalData: await Promise.all(files) };
}

async function bytes(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${new URL(address).pathname} cannot be read (${response.status})`);
  return new Uint8Array(await response.arrayBuffer());
}

// With threads the page's figure would take a minute each time; the heap's is at once there.
async function held(run) {
  return { page: run.runtime.threads === 1 ? await pageBytes() : null, heap: heapBytes() };
}

function add(figures, stage, before, after) {
  figures[`${stage}_wasm_heap_bytes`] = after.heap - before.heap;
  figures[`${stage}_page_bytes`] = after.page === null ? null : after.page - before.page;
}

// Seconds since the page was opened: a page has no clock that other processes share.
function mark(run, stage) {
  run.marks.push([performance.now() / 1e3, stage]);
}

function base64(numbers) {
  const raw = new Uint8Array(numbers.buffer); // every browser's machine is little-endian
  let text = "";
  const step = 0x8000; // arguments that one call takes
  for (let at = 0; at < raw.length; at += step) text += String.fromCharCode(...raw.subarray(at, at + step));
  return btoa(text);
}
