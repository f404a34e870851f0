// One measure in a frame of its own: the job comes as a message, the answer goes as one.

import { measure } from "./measure.mjs";

addEventListener("message", async ({ source, origin, data: { job, dist } }) => {
  if (origin !== location.origin) return;
  try {
    source.postMessage({ answer: await measure(job, { dist }) }, origin);
  } catch (error) {
    source.postMessage({ error: String(error?.message ?? error).replace(/\s+/g, " ") }, origin);
  }
});
parent.postMessage({ ready: true }, location.origin);
