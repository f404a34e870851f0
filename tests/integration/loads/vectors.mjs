// node vectors.mjs MODELS NAME DTYPE POOLING < texts.json: vectors of the texts, as JSON.
// MODELS is the folder in which the bundle NAME lies; DTYPE "" leaves the choice to its config.
import { readFileSync } from "node:fs";
import { env, pipeline } from "@huggingface/transformers";

const [models, name, dtype, pooling] = process.argv.slice(2);
env.localModelPath = models;
env.allowRemoteModels = false;
env.useFSCache = false;

const texts = JSON.parse(readFileSync(0, "utf8"));
const extractor = await pipeline("feature-extraction", name, dtype ? { dtype } : {});
let vectors;
if (pooling === "graph") {
  const inputs = extractor.tokenizer(texts, { padding: true, truncation: true });
  vectors = (await extractor.model(inputs)).sentence_embedding;
} else {
  vectors = await extractor(texts, { pooling, normalize: true });
}
console.log(JSON.stringify(vectors.tolist()));
