// The next token from logits, by the rules of runtime/tasks/sampling.py.

import { generator } from "../random.mjs";

// How a decoder chooses: `temperature` 0 takes the likeliest token (greedy), `topK` 0 draws from all.
// Equal seeds draw equal texts, but not those of Python, whose generator is another.
export class Sampler {
  constructor({ temperature = 0, topK = 0, seed = 0 } = {}) {
    if (!(Number.isFinite(temperature) && temperature >= 0))
      throw new Error(`temperature must be at least 0, got ${told(temperature)}`);
    whole("top-k", topK, 0);
    whole("seed", seed, 0);
    Object.assign(this, { temperature, topK, random: generator(seed) });
  }

  // A token id for `logits`, an array of numbers.
  choose(logits) {
    if (!this.temperature) return likeliest(logits);
    const least = this.topK && this.topK < logits.length ? nth(logits, this.topK) : -Infinity;
    // Of those that are exactly as likely as the last of top-k, only as many as there is room for.
    let room = this.topK;
    if (room) for (const one of logits) if (one > least) room--;
    const top = logits[likeliest(logits)];
    const shares = Float64Array.from(logits, (one) => {
      if (one < least || (one === least && room-- <= 0)) return 0;
      return Math.exp((one - top) / this.temperature);
    });
    let left = this.random() * shares.reduce((sum, one) => sum + one, 0);
    for (let id = 0; id < shares.length; id++) if ((left -= shares[id]) < 0) return id;
    return likeliest(logits); // the sum was rounded
  }
}

// Throws one line unless `value` is a whole number of at least `least`.
export function whole(name, value, least) {
  if (!(Number.isSafeInteger(value) && value >= least))
    throw new Error(`${name} must be a whole number of at least ${least}, got ${told(value)}`);
}

function told(value) {
  return Number.isNaN(value) ? "no number" : value;
}

// The place of the first that no other exceeds.
function likeliest(numbers) {
  let at = 0;
  for (let i = 1; i < numbers.length; i++) if (numbers[i] > numbers[at]) at = i;
  return at;
}

// The k-th largest.
function nth(numbers, k) {
  const sorted = Float32Array.from(numbers).sort();
  return sorted[sorted.length - k];
}
