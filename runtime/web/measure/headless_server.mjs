// The files that a measuring page needs, to this machine alone.

import { createReadStream, readdirSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";

const WEB = dirname(dirname(fileURLToPath(import.meta.url)));
const TYPES = { ".mjs": "text/javascript", ".wasm": "application/wasm" };
const DIST = "onnxruntime-web/dist";
const HEADERS = {
  // Threads, and what the page holds, are for isolated pages alone.
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cache-Control": "no-store",
};

// Serves `names` of `folder` under /model/, the scripts that measure under /web/ and the runtime in
// `modules` under /lib/. Gives {address, close}.
export async function serve({ folder, names }, modules) {
  const files = new Map(); // only what is listed is ever opened
  for (const name of names) files.set(`/model/${name}`, join(folder, name));
  for (const inner of ["", "measure/"]) {
    const scripts = readdirSync(join(WEB, inner)).filter((name) => name.endsWith(".mjs"));
    for (const name of scripts) files.set(`/web/${inner}${name}`, join(WEB, inner, name));
  }
  const dist = join(modules, "node_modules", DIST);
  for (const name of readdirSync(dist)) files.set(`/lib/${DIST}/${name}`, join(dist, name));

  const server = createServer((request, response) => {
    // The page alone asks; a name that was turned to this machine (DNS rebinding) is refused.
    if (request.headers.host !== `127.0.0.1:${server.address().port}`) return response.writeHead(421, HEADERS).end();
    const path = asked(request.url);
    if (path === undefined) return response.writeHead(400, HEADERS).end();
    if (path === "/") return response.writeHead(200, { ...HEADERS, "Content-Type": "text/html" }).end("<!doctype html>");
    const file = files.get(path);
    const size = file && statSync(file, { throwIfNoEntry: false })?.size;
    if (size === undefined) return response.writeHead(404, HEADERS).end();
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    response.writeHead(200, { ...HEADERS, "Content-Type": type, "Content-Length": size });
    createReadStream(file).on("error", () => response.destroy()).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { address: `http://127.0.0.1:${server.address().port}`, close };
}

// The path of an address; undefined where it is broken.
function asked(url) {
  try {
    return decodeURIComponent(new URL(url, "http://localhost").pathname);
  } catch {
    return undefined;
  }
}
