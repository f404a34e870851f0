// The page of `lighttoken serve`: loads the bundle, runs what is typed, shows it.

import { fill, milliseconds, size } from "../figures.mjs";
import { libraries } from "../libraries.mjs";
import { pageBytes } from "../ort.mjs";
import { openPipeline } from "./pipeline.mjs";
import { Texts } from "./texts.mjs";
import { TITLES, view } from "./views.mjs";

const BUNDLE = "bundle/";
const PAUSE_MS = 250; // after a key, before the model runs
const MOST_THREADS = 8;
const by = (id) => document.getElementById(id);

const [settings, manifest] = await Promise.all([json("settings.json"), json(`${BUNDLE}lighttoken.json`)]);
const chosen = choices();
const found = new Map(); // what the model gave, by text
let pipeline, timer;
let running = Promise.resolve();

document.title = `${settings.name} · LightToken`;
fill({ name: settings.name });
showSizes();
const texts = new Texts(by("texts"), manifest.task, () => {
  clearTimeout(timer);
  timer = setTimeout(update, PAUSE_MS);
});
by("add").addEventListener("click", () => texts.add(""));
await start();

async function start() {
  try {
    const libs = await libraries(settings.libraries);
    pipeline = await openPipeline({ bundle: BUNDLE, manifest, data: settings.data, libs, ...chosen });
    if (manifest.task === "fill-mask") texts.suggest(pipeline.tokenizer.maskToken);
    await pipeline.run("warm up"); // the first call of a session takes longer than all others
    fill({ load: milliseconds(pipeline.loadMs), runtime: `${pipeline.name} · ${libs.from}` });
    by("result-title").textContent = TITLES[manifest.task];
    await update();
    await showMemory();
  } catch (error) {
    say(problem(error), true);
  }
}

// Run what is new, show all. One update at a time: the runtime takes one call.
function update() {
  running = running.then(async () => {
    try {
      const wanted = texts.values().filter((text) => text.trim());
      for (const text of wanted) if (!found.has(text)) found.set(text, await pipeline.run(text));
      say("");
      showSpeed(wanted);
      by("result").hidden = !wanted.length;
      view(manifest.task, by("view"), texts, found);
    } catch (error) {
      say(problem(error), true);
    }
  });
  return running;
}

// Another provider or another number of threads needs another page: one page holds one runtime.
function choices() {
  const asked = new URLSearchParams(location.search);
  const cores = Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS);
  const most = self.crossOriginIsolated ? cores : 1;
  const provider = asked.get("provider") ?? settings.provider;
  const threads = Math.min(Number(asked.get("threads")) || Math.min(4, most), most);
  for (let count = 1; count <= most; count++) by("threads").append(new Option(count, count));
  by("provider").value = provider;
  by("threads").value = threads;
  by("threads").disabled = provider === "webgpu" || most === 1;
  by("threads").title = most === 1 ? "This page is not isolated, or there is one core: one thread." : "";
  by("controls").addEventListener("change", () => {
    location.search = new URLSearchParams({ provider: by("provider").value, threads: by("threads").value });
  });
  return { provider, threads };
}

function showSizes() {
  const { footprint, target, body } = manifest;
  const { embedding_bytes: packed, dense_bytes: dense, model_bytes: model, original_model_bytes: original } = footprint;
  fill({
    disk: size(model),
    "disk-note": `${(original / model).toFixed(1)}× smaller than ${size(original)}`,
    table: size(packed),
    "table-note": `${footprint.ratio.toFixed(1)}× smaller than ${size(dense)}, in memory too`,
  });
  by("disk").title = `weights ${body ?? "fp32"}, made for ${target ?? "cpu"}`;
}

function showSpeed(wanted) {
  const times = wanted.map((text) => found.get(text).ms).sort((a, b) => a - b);
  if (!times.length) return;
  const tokens = wanted.map((text) => found.get(text).tokens).sort((a, b) => a - b);
  const middle = Math.floor(times.length / 2);
  fill({ speed: milliseconds(times[middle]), "speed-note": `median of ${times.length}, ${tokens[middle]} tokens` });
}

async function showMemory() {
  const held = pipeline.heapBytes() - pipeline.bareBytes;
  const beside = chosen.provider === "webgpu" ? "; what the GPU holds is not told" : "";
  const note = `above the bare runtime's ${size(pipeline.bareBytes)}${beside}`;
  fill({ memory: size(held), "memory-note": note });
  const page = await pageBytes();
  if (page !== null) fill({ "memory-note": `${note}; the whole page ${size(page)}` });
}

function say(text, bad = false) {
  by("status").textContent = text;
  by("status").className = bad ? "bad" : "";
  by("status").setAttribute("role", bad ? "alert" : "status");
}

function problem(error) {
  const words = String(error?.message ?? error).replace(/\s+/g, " ");
  return `This does not run here: ${words.replace(/^.*ERROR_MESSAGE: /, "").slice(0, 300)}`;
}

async function json(address) {
  return (await fetch(address)).json();
}
