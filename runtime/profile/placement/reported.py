"""What a runtime reports of its nodes: the facts of the measure ``places``, as data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.graph.contract import DOMAIN, HEAD, LOOKUP, without_number

from ...providers import CPU, PROVIDERS

_CPU_WORDS = {"wasm": CPU, "arm64": CPU}
# These run a kernel for each node. All others compile nodes together: one entry is one group.
_BY_KERNELS = {
    CPU,
    *(PROVIDERS[word] for word in ("cuda", "rocm", "xnnpack", "webgpu")),
    "JsExecutionProvider",
}


@dataclass(frozen=True)
class ReportedNode:
    """A node that the runtime reported.

    Attributes:
        group: number of the nodes that the provider compiles together; -1 for none.
        microseconds: of one call; None where it was not profiled.
    """

    name: str
    op_type: str
    domain: str
    provider: str
    group: int = -1
    microseconds: float | None = None


def assigned(facts: Mapping[str, Any]) -> Iterator[ReportedNode]:
    """From ``[[provider, [[operator, domain, node], ...]], ...]``: how the graph was divided."""
    for index, (provider, nodes) in enumerate(facts.get("assigned") or ()):
        group = -1 if provider in _BY_KERNELS else index
        for op_type, domain, name in nodes:
            yield ReportedNode(name, op_type, domain, provider, group)


def profiled(facts: Mapping[str, Any]) -> Iterator[ReportedNode]:
    """From ``[[provider, operator, node, microseconds], ...]``: what ran, after fusions."""
    for provider, op_type, name, microseconds in facts.get("profiled") or ():
        domain = DOMAIN if without_number(op_type) in (LOOKUP, HEAD) else ""
        yield ReportedNode(name, op_type, domain, provider, -1, float(microseconds))


def only_provider(facts: Mapping[str, Any]) -> str | None:
    """The provider that took all nodes, from a browser's ``counts``: ``{provider: nodes}``."""
    counts = facts.get("counts") or {}
    return next(iter(counts)) if len(counts) == 1 else None


def wanted_name(provider: str, seen: set[str]) -> str:
    """onnxruntime's name of a provider; of the two names for ``webgpu``, the one in ``seen``."""
    if provider == "webgpu" and "JsExecutionProvider" in seen:
        return "JsExecutionProvider"
    return _CPU_WORDS.get(provider) or PROVIDERS.get(provider, provider)
