// The page of `lighttoken profile --emit web`: each measure in a frame of its own, then a file.

import { fill, milliseconds, size } from "../figures.mjs";
import { libraries } from "../libraries.mjs";

const by = (id) => document.getElementById(id);
const settings = await (await fetch("settings.json")).json();
const libs = await libraries(settings.libraries);
document.title = `${settings.name} · LightToken`;
fill({ name: settings.name });
by("measure").disabled = false;
by("measure").addEventListener("click", run);

async function run() {
  by("measure").disabled = true;
  by("download").hidden = true;
  by("status").className = "";
  const answers = [];
  try {
    for (const measure of settings.measures) {
      by("status").textContent = `Measuring: ${measure} (${answers.length + 1} of ${settings.measures.length}) …`;
      answers.push({ measure, answer: await inFrame({ ...settings.job, measure }) });
      show(answers);
    }
    const isolated = self.crossOriginIsolated;
    by("status").textContent = isolated
      ? "Done."
      : "Done, with one thread and without the page's memory: this server sends no COOP and COEP headers.";
  } catch (error) {
    by("status").textContent = `This does not run here: ${String(error.message).slice(0, 300)}`;
    by("status").className = "bad";
  }
  if (answers.length) offer(answers);
  by("measure").disabled = false;
}

// A frame's heap goes with it, so that no measure inherits another's memory.
function inFrame(job) {
  const frame = document.createElement("iframe");
  frame.src = "frame.html";
  return new Promise((resolve, reject) => {
    const hear = ({ source, data }) => {
      if (source !== frame.contentWindow) return;
      if (data.ready) return source.postMessage({ job, dist: libs.dist }, location.origin);
      removeEventListener("message", hear);
      frame.remove();
      if (data.error) reject(new Error(data.error));
      else resolve(data.answer);
    };
    addEventListener("message", hear);
    document.body.append(frame);
  });
}

function show(answers) {
  const figures = Object.assign({}, ...answers.map(({ answer }) => answer.figures));
  const rows = settings.metrics.filter(({ name }) => name in figures);
  by("figures").tBodies[0].replaceChildren(
    ...rows.map(({ name, label, unit }) => row(label, number(figures[name], unit))),
  );
  by("figures").hidden = false;
  fill({ runtime: `${answers[0].answer.runtime} · ${libs.from}` });
}

function row(...texts) {
  const line = document.createElement("tr");
  for (const text of texts) line.insertCell().textContent = text;
  return line;
}

function number(value, unit) {
  if (unit === "bytes") return size(value);
  return unit === "ms" ? milliseconds(value) : `${value.toPrecision(3)} ${unit}`;
}

function offer(answers) {
  const results = {
    kind: "lighttoken device results",
    schema: 1,
    place: "web",
    subject: settings.name,
    environment: environment(answers[0].answer),
    answers,
  };
  const file = new Blob([`${JSON.stringify(results, null, 2)}\n`], { type: "application/json" });
  URL.revokeObjectURL(by("download").href);
  by("download").href = URL.createObjectURL(file);
  by("download").hidden = false;
}

// What a browser tells of its machine, which is little. Memory is rounded, and 0 if it is not told.
function environment(answer) {
  return {
    system: navigator.userAgent,
    machine: answer.facts.adapter?.name ?? "",
    cores: navigator.hardwareConcurrency || 0,
    memory_bytes: (navigator.deviceMemory ?? 0) * 2 ** 30,
    onnxruntime: answer.runtime.split(",")[0].replace("onnxruntime-web ", ""),
  };
}
