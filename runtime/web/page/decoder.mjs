// A prompt in, text out, token by token: runtime/tasks/text_generation.py's rules, in a page.

import { buildFeeds, idsInput, isCache, tensor } from "../feeds.mjs";
import { chatTemplate } from "./chat.mjs";
import { openModel } from "./model.mjs";
import { Sampler, whole } from "./sampling.mjs";

const LOGITS = "logits";
const LAST_ONLY = "num_logits_to_keep";
const LOGITS_BYTES = 64e6; // of a prompt's logits at once, where the graph gives those of all tokens
const WITHOUT_CACHE = "this bundle has no cache, and would read all of the text again for each token; export it with --with-past";

// Open the bundle of a decoder as openModel does.
//
// Gives what openModel gives, hasTemplate, and write(prompt, options), of which one runs at a time.
// Options: temperature, topK, seed, maxTokens, chat (whether to use the template), onToken({text,
// tokens, firstTokenMs, tokensPerSecond}), stopped() (whether to end now). It gives {text,
// promptTokens, tokens, firstTokenMs, tokensPerSecond, ended}: `tokens` are ids without the one that
// ends the text, `tokensPerSecond` is null where there is but one, `ended` says that the model ended.
export async function openDecoder({ bundle, manifest, data, libs, provider, threads }) {
  if (!manifest.cached) throw new Error(WITHOUT_CACHE);
  // The cache stays where it is made.
  const options = provider === "webgpu" ? { preferredOutputLocation: "gpu-buffer" } : {};
  const [template, ends] = await Promise.all([chatTemplate(bundle, manifest, libs.jinja), endIds(bundle, manifest)]);
  const model = await openModel({ bundle, manifest, data, libs, provider, threads, options });
  const parts = { ...model, manifest, template, ends };
  await warm(parts);
  return { ...model, hasTemplate: template !== null, write: (prompt, asked) => write(parts, prompt, asked) };
}

// The first calls of a session, with a cache and without, take longer than all others.
async function warm(parts) {
  const graph = new Graph(parts);
  for (let step = 0; step < 2; step++) await graph.step([0]);
  graph.forget();
}

async function write(parts, prompt, { maxTokens, chat = false, onToken = () => {}, stopped = () => false, ...sampling }) {
  const began = performance.now();
  const sampler = new Sampler(sampling);
  whole("max tokens", maxTokens, 1);
  const ids = read(parts, prompt, chat);
  const most = Math.min(maxTokens, (parts.manifest.max_length ?? Infinity) - ids.length);
  const stream = parts.tokenizer.stream();
  const graph = new Graph(parts);
  const tokens = [];
  const times = [];
  let text = "";
  let ended = false;
  const figures = () => {
    const later = times.at(-1) - times[0];
    const rate = later > 0 ? ((times.length - 1) / later) * 1000 : null;
    return { text, promptTokens: ids.length, tokens, firstTokenMs: times[0] - began, tokensPerSecond: rate, ended };
  };
  try {
    for (let latest = ids; times.length < most && !ended && !stopped(); latest = tokens.slice(-1)) {
      const id = sampler.choose(await graph.step(latest));
      times.push(performance.now());
      ended = parts.ends.includes(id);
      if (!ended) {
        tokens.push(id);
        text += stream(id);
      }
      onToken(figures());
      await breath();
    }
  } finally {
    graph.forget();
  }
  return figures();
}

// The ids of a prompt.
function read({ tokenizer, template, manifest }, prompt, chat) {
  if (chat && !template) throw new Error("the tokenizer has no chat template; leave it out");
  const ids = chat ? tokenizer.bare(template(prompt)) : tokenizer.whole(prompt);
  if (!ids.length) throw new Error("the prompt has no tokens; give some text");
  const longest = manifest.max_length;
  if (longest && ids.length >= longest)
    throw new Error(
      `the prompt has ${ids.length} tokens and the model reads ${longest}, the text that it writes included; ` +
        "give a shorter one",
    );
  return ids;
}

// A decoder's graph with the cache of all tokens so far.
class Graph {
  constructor({ ort, session, manifest }) {
    const inputs = session.inputMetadata;
    this.ort = ort;
    this.session = session;
    this.ids = idsInput(inputs, manifest.ids_input);
    this.others = inputs.filter(({ name }) => !isCache(name) && name !== LAST_ONLY);
    const empty = buildFeeds(ort, inputs, this.ids, [[0]]);
    this.cache = Object.fromEntries(Object.entries(empty).filter(([name]) => isCache(name)));
    this.past = 0;
    const keeps = inputs.find(({ name }) => name === LAST_ONLY);
    this.last = keeps ? { [LAST_ONLY]: tensor(ort, keeps.type, [], 1, () => 1) } : {};
    // Else a long prompt's logits are more than a browser has room for.
    this.atOnce = keeps ? Infinity : Math.max(1, Math.floor(LOGITS_BYTES / (4 * manifest.rows)));
  }

  // The logits after some more tokens.
  async step(ids) {
    let logits;
    for (let start = 0; start < ids.length; start += this.atOnce)
      logits = await this.run(ids.slice(start, start + this.atOnce));
    return logits;
  }

  async run(ids) {
    const total = this.past + ids.length;
    const made = {
      [this.ids]: [ids.length, (at) => ids[at]],
      attention_mask: [total, () => 1],
      position_ids: [ids.length, (at) => this.past + at],
    };
    const feeds = { ...this.cache, ...this.last };
    for (const { name, type } of this.others) {
      const [length, value] = made[name] ?? [ids.length, () => 0];
      feeds[name] = tensor(this.ort, type, [1, length], length, value);
    }
    const { [LOGITS]: logits, ...present } = await this.session.run(feeds);
    if (!logits) throw new Error(`the graph gives ${this.session.outputNames.join(", ")}, and no logits`);
    const numbers = await logits.getData(true);
    this.forget();
    this.cache = Object.fromEntries(
      Object.entries(present).map(([name, value]) => [name.replace("present", "past_key_values"), value]),
    );
    this.past = total;
    return floats(numbers.subarray(numbers.length - logits.dims.at(-1)), logits.type);
  }

  // Let go of the cache: what lies on a GPU is not collected.
  forget() {
    for (const value of Object.values(this.cache)) value.dispose();
    this.cache = {};
  }
}

// Halves are bits where JavaScript lacks them.
function floats(numbers, type) {
  if (type !== "float16" || !(numbers instanceof Uint16Array)) return Float32Array.from(numbers);
  return Float32Array.from(numbers, (bits) => {
    const [sign, power, rest] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (power === 31) return rest ? NaN : sign * Infinity;
    return sign * (power ? 2 ** (power - 15) * (1 + rest / 1024) : 2 ** -14 * (rest / 1024));
  });
}

async function endIds(bundle, manifest) {
  const names = ["generation_config.json", "config.json"].filter((name) => name in manifest.files);
  const configs = await Promise.all(names.map(async (name) => (await fetch(bundle + name)).json()));
  return configs.flatMap(({ eos_token_id: ids }) => ids ?? []);
}

// Let the page be drawn and its buttons be pressed: a call of the runtime holds it up.
function breath() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
