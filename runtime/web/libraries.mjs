// Where the libraries lie: beside this page where they are installed, else at a CDN.

const CDN = "https://cdn.jsdelivr.net/npm/";
const DIST = { ort: "onnxruntime-web", tokenizers: "@huggingface/tokenizers", jinja: "@huggingface/jinja" };

// `where`: "local" or "cdn". Gives {dist, tokenizers, jinja, from}: the folder of onnxruntime-web, the
// modules of the tokenizer and of chat templates, and a few words for people.
export async function libraries(where) {
  const versions = (await (await fetch("web/package.json")).json()).dependencies;
  const address = (name) =>
    where === "cdn"
      ? `${CDN}${name}@${versions[name]}/dist/`
      : new URL(`lib/${name}/dist/`, document.baseURI).href;
  return {
    dist: address(DIST.ort),
    tokenizers: `${address(DIST.tokenizers)}tokenizers.min.mjs`,
    jinja: `${address(DIST.jinja)}index.js`,
    from: where === "cdn" ? "libraries from cdn.jsdelivr.net" : "libraries from this server",
  };
}
