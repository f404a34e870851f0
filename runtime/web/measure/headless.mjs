// Measures in headless Chromium: node headless.mjs < TASK.json
//
// A task: job (runtime/profile/measure/job.py), modules (the folder of node_modules), browser (Chromium's
// path). The last line printed is the answer, or {"error": "one line"} with exit status 1.

import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

import { serve } from "./headless_server.mjs";

const PLAIN = [
  "--no-sandbox", // containers seldom allow one, and nothing foreign is opened
  "--disable-background-timer-throttling",
  "--enable-blink-features=ForceEagerMeasureMemory", // else it waits up to 20 s for a collection
];
const LONGEST = 300; // characters of an error
const WEBGPU = ["--enable-unsafe-webgpu", "--enable-features=Vulkan"];
const SOFTWARE_GPU = ["--use-webgpu-adapter=swiftshader", "--use-vulkan=swiftshader"];

async function main() {
  const { job, modules, browser } = JSON.parse(await text(process.stdin));
  const require = createRequire(pathToFileURL(join(modules, "package.json")));
  const { chromium } = require("playwright-core");
  const files = { folder: dirname(job.model), names: [basename(job.model), ...job.data] };
  const server = await serve(files, modules);
  const open = (flags) => chromium.launch({ executablePath: browser, args: [...PLAIN, ...flags] });
  try {
    const { address } = server;
    const place = job.provider === "webgpu" ? await withGpu(open, address) : await opened(open, [], address);
    const inPage = { ...job, model: `${address}/model/${encodeURIComponent(files.names[0])}` };
    try {
      return await Promise.race([place.crash, place.page.evaluate(inside, inPage)]);
    } finally {
      await place.browser.close();
    }
  } finally {
    server.close();
  }
}

// A GPU of this machine's if Chromium finds one, else one in software.
async function withGpu(open, address) {
  const place = await opened(open, WEBGPU, address);
  if (await place.page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter()))) return place;
  await place.browser.close();
  return opened(open, [...WEBGPU, ...SOFTWARE_GPU], address);
}

async function opened(open, flags, address) {
  const browser = await open(flags);
  const page = await browser.newPage();
  const crash = new Promise((_, reject) => {
    const ended = "the browser's page crashed; is there memory enough for the model?";
    page.on("crash", () => reject(new Error(ended)));
    browser.on("disconnected", () => reject(new Error("the browser ended before it had answered")));
  });
  crash.catch(() => {}); // it is awaited only while the page measures
  await page.goto(`${address}/`);
  return { browser, page, crash };
}

async function inside(job) {
  const { measure } = await import("/web/measure/measure.mjs");
  return measure(job, { dist: "/lib/onnxruntime-web/dist/" });
}

// Without playwright's words, onnxruntime's codes and the line of C++ that it failed in.
function oneLine(error) {
  const words = String(error?.message ?? error).split("\n    at ")[0].replace(/\s+/g, " ");
  const plain = words
    .replace(/^page\.evaluate: /, "")
    .replace(/^Error: /, "")
    .replace(/^.*ERROR_MESSAGE: /, "")
    .replace(/^\S+:\d+ .*?\) /, "");
  return plain.trim().slice(0, LONGEST);
}

try {
  console.log(JSON.stringify(await main()));
} catch (error) {
  console.log(JSON.stringify({ error: oneLine(error) }));
  process.exitCode = 1;
}
