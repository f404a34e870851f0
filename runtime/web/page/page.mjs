// The page of `lighttoken serve` for encoders: loads the bundle, runs what is typed, shows it.

import { fill, milliseconds } from "../figures.mjs";
import { libraries } from "../libraries.mjs";
import { openPipeline } from "./pipeline.mjs";
import { BUNDLE, begin, by, manifest, problem, say, settings, showMemory } from "./shell.mjs";
import { Texts } from "./texts.mjs";
import { TITLES, view } from "./views.mjs";

const PAUSE_MS = 250; // after a key, before the model runs

const chosen = begin();
const found = new Map(); // what the model gave, by text
let pipeline, timer;
let running = Promise.resolve();

const texts = new Texts(by("texts"), manifest.task, () => {
  clearTimeout(timer);
  timer = setTimeout(update, PAUSE_MS);
});
by("add").addEventListener("click", () => texts.add(""));
await start();

async function start() {
  try {
    const libs = await libraries(settings.libraries);
    pipeline = await openPipeline({ bundle: BUNDLE, manifest, data: settings.data, libs, ...chosen });
    if (manifest.task === "fill-mask") texts.suggest(pipeline.tokenizer.maskToken);
    await pipeline.run("warm up"); // the first call of a session takes longer than all others
    fill({ load: milliseconds(pipeline.loadMs), runtime: `${pipeline.name} · ${libs.from}` });
    by("result-title").textContent = TITLES[manifest.task];
    await update();
    await showMemory(pipeline, chosen.provider);
  } catch (error) {
    say(problem(error), true);
  }
}

// Run what is new, show all. One update at a time: the runtime takes one call.
function update() {
  running = running.then(async () => {
    try {
      const wanted = texts.values().filter((text) => text.trim());
      for (const text of wanted) if (!found.has(text)) found.set(text, await pipeline.run(text));
      say("");
      showSpeed(wanted);
      by("result").hidden = !wanted.length;
      view(manifest.task, by("view"), texts, found);
    } catch (error) {
      say(problem(error), true);
    }
  });
  return running;
}

function showSpeed(wanted) {
  const times = wanted.map((text) => found.get(text).ms).sort((a, b) => a - b);
  if (!times.length) return;
  const tokens = wanted.map((text) => found.get(text).tokens).sort((a, b) => a - b);
  const middle = Math.floor(times.length / 2);
  fill({ speed: milliseconds(times[middle]), "speed-note": `median of ${times.length}, ${tokens[middle]} tokens` });
}
