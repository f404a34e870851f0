// Which provider takes which node, read from onnxruntime's verbose log: there is no other way.

const HEADING = /placed on \[(\w+)\](?:\. Number of nodes: (\d+))?/;
const NODE = /VerifyEachNodeIsAssignedToAnEp[^\]]*\]\s+(\S+) \((.*)\)\s*$/;

// Lines of the console from now on. Call it before the runtime is loaded, which keeps the
// console's functions.
export function listen() {
  const lines = [];
  for (const level of ["log", "info", "debug", "warn", "error"]) {
    const plain = console[level];
    console[level] = (...words) => {
      lines.push(words.join(" "));
      plain.apply(console, words);
    };
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
