// Opens onnxruntime-web and tells what it takes of memory.

// A session of nothing but an Identity: what it needs is the bare runtime's.
const EMPTY = "CAg6OQoSCgF4EgF5IghJZGVudGl0eToAEgFnWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUIECgAQDQ==";

const PATIENCE_MS = 90_000;

// The runtime's heap is a WebAssembly.Memory that it keeps to itself, so it is caught when made.
const memories = [];
WebAssembly.Memory = class extends WebAssembly.Memory {
  constructor(descriptor) {
    super(descriptor);
    if (descriptor.maximum) memories.push(this); // one of no pages only asks for a constructor
  }
};

// Bytes of the WASM heap up to the last one that was ever written, so its peak as well.
//
// Not its length: that starts at 16 MiB, most of them free, and rises in leaps, so that what is
// above a bare runtime's would leave out the first megabytes of any model.
export function heapBytes() {
  return memories.reduce((sum, memory) => sum + written(memory.buffer), 0);
}

// Bytes that the heap has set aside.
export function reservedHeapBytes() {
  return memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
}

function written(buffer) {
  const words = new BigUint64Array(buffer);
  let end = words.length;
  while (end && words[end - 1] === 0n) end--;
  return end * words.BYTES_PER_ELEMENT;
}

// Bytes of the page after a garbage collection, heap included; null where the browser won't tell.
//
// It takes seconds, and a minute where the runtime has threads: Chromium asks each, and those that
// wait for work do not answer.
export async function pageBytes() {
  const { performance } = self.parent; // of the outermost page, which alone may ask
  if (!self.crossOriginIsolated || !performance.measureUserAgentSpecificMemory) return null;
  const late = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS, { bytes: null }));
  return (await Promise.race([performance.measureUserAgentSpecificMemory(), late])).bytes;
}

// Load the runtime of `dist` (an address that ends in "/") for "wasm" or "webgpu".
//
// Gives {ort, name, threads, adapter}: `threads` are 1 where the page is not isolated, whatever was
// asked; `adapter` is null for WASM. One page can hold one runtime.
export async function openRuntime({ dist, provider, threads = 1 }) {
  const adapter = provider === "webgpu" ? await gpu() : null;
  const base = new URL(dist, location.href).href;
  const ort = await import(`${base}ort.${provider === "webgpu" ? "webgpu" : "wasm"}.min.mjs`);
  const used = provider === "wasm" && self.crossOriginIsolated ? threads : 1;
  ort.env.wasm.wasmPaths = base;
  ort.env.wasm.numThreads = used;
  const how = adapter
    ? `webgpu on ${adapter.name}${adapter.software ? " (in software)" : ""}`
    : `wasm, ${used} thread${used === 1 ? "" : "s"}, SIMD`;
  return { ort, name: `onnxruntime-web ${ort.env.versions.web}, ${how}`, threads: used, adapter };
}

// Start the runtime: compile it, start its threads or its device.
export async function warmRuntime({ ort }, provider) {
  const session = await ort.InferenceSession.create(fromBase64(EMPTY), { executionProviders: [provider] });
  await session.run({ x: new ort.Tensor("float32", [0], [1]) });
  await session.release();
}

async function gpu() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error("this browser gives no WebGPU adapter; use provider wasm");
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  const name = description || [vendor, architecture || device].filter(Boolean).join(" ") || "an unnamed GPU";
  const software = Boolean(isFallbackAdapter) || /swiftshader|llvmpipe|basic render/i.test(name + architecture);
  return { name, software };
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
