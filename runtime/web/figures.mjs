// Figures, and how people read them.

// Between the two nearest, as numpy's default.
export function percentile(times, share) {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share / 100) * (sorted.length - 1);
  const low = Math.floor(at);
  return sorted[low] + (at - low) * (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]);
}

// Bytes in decimal units, three digits that matter.
export function size(bytes) {
  for (const [unit, factor] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]])
    if (Math.abs(bytes) >= factor) return `${(bytes / factor).toPrecision(3)} ${unit}`;
  return `${bytes} B`;
}

export function milliseconds(value) {
  return value < 100 ? `${value.toPrecision(3)} ms` : value < 10000 ? `${value.toFixed(0)} ms` : `${(value / 1000).toFixed(1)} s`;
}

// Without the minus of a number that rounds to zero.
export function decimals(value, places) {
  const text = value.toFixed(places);
  return Number(text) ? text.replace("-", "−") : (0).toFixed(places);
}

// Put texts into the elements of these ids.
export function fill(texts) {
  for (const [id, text] of Object.entries(texts)) document.getElementById(id).textContent = text;
}
