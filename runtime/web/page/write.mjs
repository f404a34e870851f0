// The page of `lighttoken serve` for decoders: loads the bundle, writes on after a prompt.

import { fill, milliseconds } from "../figures.mjs";
import { libraries } from "../libraries.mjs";
import { openDecoder } from "./decoder.mjs";
import { BUNDLE, begin, by, line, manifest, problem, say, settings, showHeap, showMemory } from "./shell.mjs";

const KEPT = "lighttoken-prompt";
const EXAMPLE = "The lighthouse keeper";

const chosen = begin();
let decoder, stopped;

by("prompt").value = sessionStorage.getItem(KEPT) ?? EXAMPLE;
by("prompt").addEventListener("input", () => sessionStorage.setItem(KEPT, by("prompt").value));
by("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || by("write").disabled) return;
  event.preventDefault();
  by("ask").requestSubmit();
});
by("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  write();
});
by("stop").addEventListener("click", () => (stopped = true));
await start();

async function start() {
  try {
    const libs = await libraries(settings.libraries);
    decoder = await openDecoder({ bundle: BUNDLE, manifest, data: settings.data, libs, ...chosen });
    by("chat-line").hidden = !decoder.hasTemplate;
    fill({ load: milliseconds(decoder.loadMs), runtime: `${decoder.name} · ${libs.from}` });
    busy(false);
    say("");
    await showMemory(decoder, chosen.provider);
  } catch (error) {
    say(problem(error), true);
  }
}

async function write() {
  const prompt = by("prompt").value;
  const chat = decoder.hasTemplate && by("chat").checked;
  stopped = false;
  busy(true);
  say("");
  by("asked").className = chat ? "turn" : "";
  fill({ asked: prompt, written: "", summary: "" });
  try {
    const found = await decoder.write(prompt, {
      maxTokens: by("max-tokens").valueAsNumber,
      temperature: by("temperature").valueAsNumber,
      topK: by("top-k").valueAsNumber,
      seed: by("seed").valueAsNumber,
      chat,
      onToken: show,
      stopped: () => stopped,
    });
    fill({ summary: summary(found) });
    showHeap(decoder, chosen.provider);
  } catch (error) {
    say(line(error), true);
  }
  busy(false);
}

function show({ text, promptTokens, tokens, firstTokenMs, tokensPerSecond }) {
  fill({ written: text, first: milliseconds(firstTokenMs), "first-note": `after a prompt of ${promptTokens} tokens` });
  if (tokensPerSecond === null) return;
  fill({ rate: tokensPerSecond.toPrecision(3), "rate-note": `of the ${tokens.length} written, after the first` });
}

function summary({ promptTokens, tokens, ended }) {
  const why = ended ? "the model ended the text" : stopped ? "stopped" : "as many as were asked for or fit";
  return `${promptTokens} tokens read, ${tokens.length} written: ${why}.`;
}

function busy(now) {
  by("write").disabled = now;
  by("stop").disabled = !now;
}
