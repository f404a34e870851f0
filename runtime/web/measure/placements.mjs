// Which provider takes which node, and what each costs, read from what onnxruntime writes to the
// console: there is no other way.

import { percentile } from "../figures.mjs";

const HEADING = /placed on \[(\w+)\](?:\. Number of nodes: (\d+))?/;
const NODE = /VerifyEachNodeIsAssignedToAnEp[^\]]*\]\s+(\S+) \((.*)\)\s*$/;
const EVENT = /^\{"cat" : "Node"/;
const KERNEL = "_kernel_time";

// Lines of the console from now on, which shows them no more: there are thousands. Call it before
// the runtime is loaded, which keeps the console's functions.
export function listen() {
  const lines = [];
  for (const level of ["log", "info", "debug", "warn", "error"]) {
    console[level] = (...words) => lines.push(words.join(" "));
  }
  return lines;
}

// {assigned: [[provider, [[op_type, domain, node_name], …]], …], counts: {provider: nodes}}.
//
// Where one provider takes all nodes, the log gives their number and no names; `assigned` is then
// absent. The log never tells domains: they are "".
export function placements(lines) {
  const [assigned, counts] = [new Map(), {}];
  let provider = "";
  for (const line of lines) {
    const heading = HEADING.exec(line);
    const node = NODE.exec(line);
    if (heading) {
      provider = heading[1];
      counts[provider] = Number(heading[2] ?? 0);
      assigned.set(provider, []);
    } else if (provider && node) {
      assigned.get(provider).push([node[1], "", node[2]]);
    }
  }
  const named = [...assigned.values()].some((nodes) => nodes.length);
  return named ? { assigned: [...assigned], counts } : { counts };
}

// {profiled: [[provider, op_type, node, microseconds], …]}, the median of a node's calls but the
// first, which sets memory up.
export function profile(lines) {
  const taken = new Map();
  for (const line of lines.filter((one) => EVENT.test(one))) {
    const { name, dur, args } = JSON.parse(line.replace(/,\s*$/, ""));
    if (!name.endsWith(KERNEL)) continue;
    const node = JSON.stringify([args.provider ?? "", args.op_name, name.slice(0, -KERNEL.length)]);
    taken.set(node, [...(taken.get(node) ?? []), dur]);
  }
  const middle = (times) => percentile(times.length > 1 ? times.slice(1) : times, 50);
  return { profiled: [...taken].map(([node, times]) => [...JSON.parse(node), middle(times)]) };
}
