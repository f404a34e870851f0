// Drives a page in headless Chromium: node page.mjs < TASK.json
//
// A task: modules, browser, address, script (the body of an async function of `page`, whose result
// is printed as JSON), flags (more of Chromium's), cdn (whether jsDelivr's files come from `modules`, as jsDelivr sends them).

import { createRequire } from "node:module";
import { join } from "node:path";
import { text } from "node:stream/consumers";

const { modules, browser: executablePath, address, script, flags, cdn } = JSON.parse(await text(process.stdin));
const { chromium } = createRequire(join(modules, "package.json"))("playwright-core");

const args = ["--no-sandbox", "--enable-blink-features=ForceEagerMeasureMemory", ...flags];
const browser = await chromium.launch({ executablePath, args });
try {
  const page = await browser.newPage();
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  if (cdn)
    await page.route("https://cdn.jsdelivr.net/**", (route) => {
      const [, name] = /npm\/(.*)$/.exec(route.request().url());
      const path = join(modules, "node_modules", name.replace(/@[\d.]+\//, "/"));
      const contentType = path.endsWith(".wasm") ? "application/wasm" : "text/javascript";
      const headers = { "access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin" };
      return route.fulfill({ path, contentType, headers });
    });
  await page.goto(address);
  const AsyncFunction = (async () => {}).constructor;
  const found = await new AsyncFunction("page", script)(page);
  console.log(JSON.stringify({ found, asked, errors }));
} finally {
  await browser.close();
}
