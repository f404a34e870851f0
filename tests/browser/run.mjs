// Runs a bundle's graph with onnxruntime-web in headless Chromium: run.mjs JOB.json
//
// A job: modules (the folder of node_modules), browser (Chromium's path), bundle (its folder),
// model (in it), data (its external data, or ""), provider ("wasm" or "webgpu"), threads, feeds
// ({name: {type, dims, values}}). Prints {outputs: {name: {dims, values}}, log: [...]}.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join, normalize } from "node:path";

const job = JSON.parse(readFileSync(process.argv[2], "utf8"));
const require = createRequire(join(job.modules, "package.json"));
const { chromium } = require("playwright-core");

const TYPES = { ".html": "text/html", ".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm" };
const ROOTS = { modules: join(job.modules, "node_modules"), bundle: job.bundle };

// Threads need shared memory, which browsers grant to isolated pages alone.
const server = createServer((request, response) => {
  const [, root, ...rest] = new URL(request.url, "http://localhost").pathname.split("/");
  const headers = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Content-Type": TYPES[extname(rest.at(-1) ?? "")] ?? "application/octet-stream",
  };
  if (root === "page") return response.writeHead(200, { ...headers, "Content-Type": "text/html" }).end("<!doctype html>");
  try {
    const body = readFileSync(join(ROOTS[root], normalize(rest.join("/"))));
    response.writeHead(200, headers).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const flags = ["--no-sandbox"];
if (job.provider === "webgpu") {
  // A GPU in software, so that any machine can run it.
  flags.push("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--use-vulkan=swiftshader", "--enable-features=Vulkan");
}
const browser = await chromium.launch({ executablePath: job.browser, args: flags });
const page = await browser.newPage();
const log = [];
page.on("console", (message) => log.push(message.text()));
await page.goto(`http://127.0.0.1:${server.address().port}/page`);

const outputs = await page.evaluate(async (job) => {
  const dist = "/modules/onnxruntime-web/dist/";
  const ort = await import(`${dist}ort.${job.provider === "webgpu" ? "webgpu" : "wasm"}.min.mjs`);
  ort.env.wasm.wasmPaths = dist;
  ort.env.wasm.numThreads = job.threads;
  const externalData = job.data ? [{ path: job.data.split("/").at(-1), data: `/bundle/${job.data}` }] : [];
  const session = await ort.InferenceSession.create(`/bundle/${job.model}`, {
    executionProviders: [job.provider],
    externalData,
    logSeverityLevel: job.verbose ? 0 : 3,
  });
  const ARRAYS = { int64: BigInt64Array, int32: Int32Array, float32: Float32Array };
  const feeds = {};
  for (const [name, { type, dims, values }] of Object.entries(job.feeds)) {
    const cast = type === "int64" ? values.map(BigInt) : values;
    feeds[name] = new ort.Tensor(type, ARRAYS[type].from(cast), dims);
  }
  const found = {};
  for (const [name, tensor] of Object.entries(await session.run(feeds))) {
    found[name] = { dims: [...tensor.dims], values: Array.from(await tensor.getData()) };
  }
  return found;
}, job);

await browser.close();
server.close();
console.log(JSON.stringify({ outputs, log }));
