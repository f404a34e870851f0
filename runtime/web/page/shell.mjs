// What the pages of `lighttoken serve` share: the bundle's settings, where it runs, sizes, memory,
// the line that says how things stand.

import { fill, size } from "../figures.mjs";
import { pageBytes } from "../ort.mjs";

export const BUNDLE = "bundle/";
const MOST_THREADS = 8;
export const by = (id) => document.getElementById(id);

export const [settings, manifest] = await Promise.all([json("settings.json"), json(`${BUNDLE}lighttoken.json`)]);

// Name the page, show the bundle's sizes. Gives what was chosen to run it: {provider, threads}.
export function begin() {
  document.title = `${settings.name} · LightToken`;
  fill({ name: settings.name });
  showSizes();
  return choices();
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

// What an open `model` holds of the runtime's heap. Gives the words that stand beside it.
export function showHeap(model, provider) {
  const held = model.heapBytes() - model.bareBytes;
  const beside = provider === "webgpu" ? "; what the GPU holds is not told" : "";
  const note = `WASM heap above the bare runtime's ${size(model.bareBytes)}${beside}`;
  fill({ memory: size(held), "memory-note": note });
  return note;
}

// The same, and the whole page where the browser tells: that takes seconds.
export async function showMemory(model, provider) {
  const note = showHeap(model, provider);
  const page = await pageBytes();
  if (page !== null) fill({ "memory-note": `${note}; the whole page ${size(page)}` });
}

export function say(text, bad = false) {
  by("status").textContent = text;
  by("status").className = bad ? "bad" : "";
  by("status").setAttribute("role", bad ? "alert" : "status");
}

// An error in one line.
export function line(error) {
  const words = String(error?.message ?? error).replace(/\s+/g, " ");
  return words.replace(/^.*ERROR_MESSAGE: /, "").slice(0, 300);
}

export function problem(error) {
  return `This does not run here: ${line(error)}`;
}

async function json(address) {
  return (await fetch(address)).json();
}
