// A bundle's graph and tokenizer, opened in a page.

import { heapBytes, openRuntime, warmRuntime } from "../ort.mjs";
import { openTokenizer } from "./tokenize.mjs";

// Open the bundle at address `bundle`. `data`: names of the model's external data files, beside it.
// `libs` as libraries.mjs gives them; `options` are more of the session's.
//
// Gives {ort, session, tokenizer, name, threads, loadMs, bareBytes, heapBytes}.
export async function openModel({ bundle, manifest, data, libs, provider, threads, options = {} }) {
  const tokenizer = await openTokenizer(bundle, manifest, libs.tokenizers);
  const runtime = await openRuntime({ dist: libs.dist, provider, threads });
  await warmRuntime(runtime, provider);
  const bareBytes = heapBytes();

  const model = manifest.model ?? "model.onnx";
  const folder = model.slice(0, model.lastIndexOf("/") + 1);
  const externalData = data.map((path) => ({ path, data: bundle + folder + path }));
  const start = performance.now();
  const session = await runtime.ort.InferenceSession.create(bundle + model, {
    executionProviders: [provider],
    externalData,
    logSeverityLevel: 3,
    ...options,
  });
  const loadMs = performance.now() - start;
  return { ort: runtime.ort, session, tokenizer, name: runtime.name, threads: runtime.threads, loadMs, bareBytes, heapBytes };
}
