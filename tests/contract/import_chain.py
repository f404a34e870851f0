"""Which module of the three packages imports which: circles, and the longest chain.

Run it as ``python -m tests.contract.import_chain``.
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("toolkit", "exporters", "runtime", "lighttoken")
Graph = dict[str, set[str]]


def name_of(path: Path, root: Path) -> str:
    """``toolkit.table`` of ``toolkit/table/__init__.py``."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def resolve(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    """The module that ``from ... import`` names, written out in full."""
    if not node.level:
        return node.module or ""
    parents = module.split(".")
    keep = len(parents) - node.level + is_package
    return ".".join([*parents[:keep], *filter(None, [node.module])])


def statements(body: list[ast.stmt], *, functions: bool) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported; with ``functions`` those inside them too.

    What only type checkers read is left out.
    """
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from statements(node.orelse, functions=functions)
            continue
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not functions:
            continue
        for name in ("body", "orelse", "finalbody"):
            yield from statements(getattr(node, name, []), functions=functions)
        for handler in getattr(node, "handlers", []):
            yield from statements(handler.body, functions=functions)


def read_graph(root: Path = ROOT, *, functions: bool = False) -> Graph:
    """For each module those that it imports, of the three packages.

    That a module's packages are imported before it counts as no import of theirs.
    """
    paths = {name_of(p, root): p for package in PACKAGES for p in (root / package).rglob("*.py")}
    graph: Graph = {}
    for module, path in sorted(paths.items()):
        found: set[str] = set()
        is_package = path.name == "__init__.py"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in statements(tree.body, functions=functions):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = resolve(node, module, is_package=is_package)
                for alias in node.names:
                    inner = f"{base}.{alias.name}"
                    found.add(inner if inner in paths else base)
        graph[module] = found.intersection(paths) - {module}
    return graph


def circles(graph: Graph) -> list[list[str]]:
    """Modules that import each other, directly or by way of others: one list for each such knot."""
    reach = {module: reachable(graph, module) for module in graph}
    knots = {
        tuple(sorted(other for other in reach[module] if module in reach[other]))
        for module in graph
        if module in reach[module]
    }
    return [list(knot) for knot in sorted(knots)]


def reachable(graph: Graph, start: str) -> set[str]:
    """Whatever ``start`` imports, directly or by way of others."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for each in graph[waiting.pop()] - seen:
            seen.add(each)
            waiting.append(each)
    return seen


def longest_chain(graph: Graph) -> list[str]:
    """A longest path of modules, each importing the next, in a graph without circles."""

    @cache
    def chain(module: str) -> list[str]:
        ways = [chain(each) for each in sorted(graph[module])]
        return [module, *max(ways, key=len, default=[])]

    return max([chain(module) for module in sorted(graph)], key=len, default=[])


def main() -> int:
    """Print what there is; exit code 1 if there are circles."""
    graph = read_graph()
    print(f"{len(graph)} modules, {sum(map(len, graph.values()))} imports among them")
    found = circles(graph)
    for knot in found:
        print("circle:", ", ".join(knot))
    if found:
        return 1
    print("circles: none")
    hidden = circles(read_graph(functions=True))
    for knot in hidden:
        print("circle by an import inside a function:", ", ".join(knot))
    chain = longest_chain(graph)
    print(f"longest chain: {len(chain)} modules, {' -> '.join(chain)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
