// The list of sentences that a person writes. It outlives a reload of the page.

const KEPT = "lighttoken-texts";
const EXAMPLES = {
  "feature-extraction": [
    "A cat is sleeping on the warm windowsill.",
    "A kitten naps in the sun by the window.",
    "The central bank raised interest rates again.",
    "Borrowing became dearer after the bank's decision.",
    "How do I reset my password?",
    "I forgot my login and need help.",
  ],
  "fill-mask": ["Paris is the [MASK] of France.", "She opened the [MASK] and looked inside."],
  "text-classification": ["What a lovely film.", "I want my money back."],
};

export class Texts {
  constructor(list, task, changed) {
    this.list = list;
    this.changed = changed;
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
    this.examples = !kept;
    for (const text of kept ?? EXAMPLES[task] ?? []) this.append(text);
  }

  // Every sentence, empty ones too, from the top.
  values() {
    return [...this.list.querySelectorAll("textarea")].map((field) => field.value);
  }

  add(text) {
    this.append(text).querySelector("textarea").focus();
    this.keep();
  }

  // Examples speak of [MASK]; this tokenizer may have another word for it.
  suggest(mask) {
    if (!this.examples || !mask) return;
    for (const field of this.list.querySelectorAll("textarea")) field.value = field.value.replace("[MASK]", mask);
  }

  // A line under sentence `at`.
  note(at, text) {
    this.list.children[at].querySelector(".near").textContent = text;
  }

  // Mark these sentences, no others.
  light(places) {
    [...this.list.children].forEach((item, at) => item.classList.toggle("lit", places.includes(at)));
  }

  append(text) {
    const item = document.createElement("li");
    item.innerHTML =
      '<span class="badge" aria-hidden="true"></span><textarea rows="1" maxlength="20000"></textarea>' +
      '<button type="button">×</button><p class="near"></p>';
    const field = item.querySelector("textarea");
    field.value = text;
    field.addEventListener("input", () => this.keep());
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      const next = item.nextElementSibling?.querySelector("textarea");
      if (next) next.focus();
      else this.add("");
    });
    item.querySelector("button").addEventListener("click", () => {
      item.remove();
      this.keep();
    });
    this.list.append(item);
    this.number();
    return item;
  }

  number() {
    [...this.list.children].forEach((item, at) => {
      item.querySelector(".badge").textContent = at + 1;
      item.querySelector("textarea").setAttribute("aria-label", `Sentence ${at + 1}`);
      item.querySelector("button").setAttribute("aria-label", `Remove sentence ${at + 1}`);
    });
  }

  keep() {
    this.examples = false;
    this.number();
    sessionStorage.setItem(KEPT, JSON.stringify(this.values()));
    this.changed();
  }
}
