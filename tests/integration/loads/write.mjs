// node write.mjs MODELS NAME COUNT < prompt.txt: {ids, text} that a decoder writes, greedy, as JSON.
// MODELS is the folder in which the bundle NAME lies.
import { readFileSync } from "node:fs";
import { env, pipeline, TextStreamer } from "@huggingface/transformers";

const [models, name, count] = process.argv.slice(2);
env.localModelPath = models;
env.allowRemoteModels = false;
env.useFSCache = false;

const prompt = readFileSync(0, "utf8");
const write = await pipeline("text-generation", name);
const ids = [];
const streamer = new TextStreamer(write.tokenizer, {
  skip_prompt: true,
  callback_function: () => {},
  token_callback_function: (some) => ids.push(...some.map(Number)),
});
const options = { max_new_tokens: Number(count), do_sample: false, return_full_text: false, streamer };
const [{ generated_text: text }] = await write(prompt, options);
console.log(JSON.stringify({ ids, text }));
