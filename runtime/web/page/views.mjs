// What the model gave, by task.

import { decimals } from "../figures.mjs";
import { cosine } from "./pipeline.mjs";

export const TITLES = {
  "feature-extraction": "How alike they are",
  "fill-mask": "What fits",
  "text-classification": "Labels",
};
const STRONG = 0.55; // share of the scale from which on ink turns
const MANY = 9; // sentences from which on cells get small

// Show `found` (results by text) for the sentences of `texts` in the element `place`.
export function view(task, place, texts, found) {
  const shown = texts.values().flatMap((text, at) => (text.trim() ? [{ at, text, ...found.get(text) }] : []));
  texts.values().forEach((_, at) => texts.note(at, ""));
  if (task === "feature-extraction") heat(place, texts, shown);
  else place.replaceChildren(...shown.flatMap((one) => answers(task, one)));
}

function heat(place, texts, shown) {
  const cosines = shown.map((one) => shown.map((other) => cosine(one.vector, other.vector)));
  shown.forEach((one, row) => {
    const others = cosines[row].map((value, at) => [at === row ? -Infinity : value, at]);
    const [value, nearest] = others.reduce((most, next) => (next[0] > most[0] ? next : most));
    if (shown.length > 1) texts.note(one.at, `nearest: ${shown[nearest].at + 1}, ${decimals(value, 3)}`);
  });
  const heard = make("p", "heard", "Point at a field, or tab to one, to see which two it compares.");
  const table = make("table", shown.length >= MANY ? "heat many" : "heat");
  table.append(make("caption", "hidden", "Cosine of each pair of sentences"));
  const tell = (row, column) => {
    texts.light([shown[row].at, shown[column].at]);
    heard.replaceChildren(make("b", "", decimals(cosines[row][column], 4)), ` «${shown[row].text}» and «${shown[column].text}»`);
  };
  const head = table.createTHead().insertRow();
  head.append(make("td", "corner"), ...shown.map(({ at }) => header("col", at)));
  const body = table.createTBody();
  shown.forEach(({ at }, row) => {
    const line = body.insertRow();
    line.append(header("row", at), ...shown.map((_, column) => cell(cosines[row][column], row, column, tell)));
  });
  table.addEventListener("mouseleave", () => texts.light([]));
  const scale = make("p", "scale");
  scale.append("0 or less", make("i"), "1");
  place.replaceChildren(table, scale, heard);
}

function cell(value, row, column, tell) {
  const share = Math.min(1, Math.max(0, value));
  const field = make("td", row === column ? "self" : share > STRONG ? "strong" : "", decimals(value, 2));
  field.style.setProperty("--share", share);
  field.dataset.cosine = value;
  if (row !== column) field.tabIndex = 0;
  for (const kind of ["mouseenter", "focus", "click"]) field.addEventListener(kind, () => tell(row, column));
  return field;
}

function header(scope, at) {
  const field = make("th", "", at + 1);
  field.scope = scope;
  return field;
}

function answers(task, { at, text, masks, labels }) {
  const lists = task === "fill-mask" ? masks : [labels];
  const title = make("p", "for", `${at + 1}. ${text}`);
  if (!lists.length) return [title, make("p", "near", "No mask is in it: put the mask where a word is wanted.")];
  return [title, ...lists.map((list) => bars(list))];
}

function bars(list) {
  const found = make("ul", "answers");
  for (const { text, score } of list) {
    const item = make("li");
    item.style.setProperty("--share", Math.min(1, Math.max(0, score)));
    item.append(make("span", "", text), make("span", "", score.toFixed(3)));
    found.append(item);
  }
  return found;
}

function make(tag, name = "", text = "") {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
}
