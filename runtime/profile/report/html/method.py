"""How the figures came about, and where."""

from pathlib import PurePath

from ..report import Environment, Measurement, ProfileReport
from .words import amount, count, tokens
from .writing import explained

_ENERGY = (
    "Energy is what the processor packages' own counters tell, a call: every core counts, whoever "
    "uses it."
)


def paragraphs(report: ProfileReport) -> list[str]:
    """In plain sentences."""
    fed = (
        f"The texts fed are {count(report.text_tokens, 'token')} of real text, cut to each length."
        if report.text_tokens
        else "Token ids were drawn afresh for each call, id k as often as 1/k, about as text would."
    )
    return [
        "Each measure of each model ran in a fresh process (in a browser, in a fresh page) that "
        "did nothing else. A round takes every measure of every model once; rounds go forth and "
        "back, so that a drift of the machine burdens all alike. A figure is the median over the "
        "processes, with the lowest and the highest of them beside it or as a whisker.",
        "A ratio is the median over the rounds of the ratio within one round. It may differ a "
        "little from the ratio of the two medians shown.",
        "Memory is what the process holds above the bare runtime, which is the same runtime with "
        "a session of an empty model. RSS counts every resident page; USS those that no other "
        "process shares; PSS divides a shared page by those who share it; anonymous pages stand "
        "for no file, so the system cannot drop them and read them again; mapped files are pages "
        "of the model's own files. Sizes are decimal: 1 MB is 1,000,000 bytes.",
        "«Cold» means that the model's files were dropped from the system's page cache just "
        "before; otherwise they had been read before. Latency is one call, p95 the "
        "time within which 95% of a process's calls ended. " + fed,
        "Before anything was timed in a place, the outputs were compared with those of the same "
        "file on the CPU, by standard operators. Where they were too far off, nothing was timed. "
        "«Function only» are places, emulators for example, where a model runs but times would "
        "mean nothing.",
        *([explained(report)] if report.tokens else []),
        *([_ENERGY] if any(map(_tells_energy, report.measurements)) else []),
    ]


def _tells_energy(one: Measurement) -> bool:
    return any(name.startswith("energy_") for name in one.figures)


def settings(report: ProfileReport) -> list[tuple[str, str]]:
    """Name and value."""
    return [
        ("places", ", ".join(report.places)),
        ("calls", ", ".join(tokens(*point) for point in report.grid)),
        ("timed calls a point", f"{report.runs:,}"),
        *([("tokens written", f"{report.tokens:,}")] if report.tokens else []),
        ("processes a model and measure", f"{report.repeats:,}"),
        ("threads an operator", f"{report.threads:,}"),
        ("text", f"{count(report.text_tokens, 'token')}" if report.text_tokens else "drawn ids"),
        ("report", f"{report.kind}, schema {report.schema}"),
    ]


def environments(report: ProfileReport) -> list[tuple[str, list[tuple[str, str]]]]:
    """This machine, then each other one that figures are from; what is not told is left out."""
    found = [("This machine", _environment(report.environment))]
    seen: list[tuple[Environment, list[str]]] = []
    for one in report.measurements:
        if one.environment is None or one.environment == report.environment:
            continue
        known = next((places for env, places in seen if env == one.environment), None)
        if known is None:
            seen.append((one.environment, [one.place]))
        elif one.place not in known:
            known.append(one.place)
    return found + [(f"Of {', '.join(places)}", _environment(env)) for env, places in seen]


def runtimes(report: ProfileReport) -> list[tuple[str, str]]:
    """Place and the runtimes that ran there."""
    found: dict[str, list[str]] = {}
    for one in report.measurements:
        names = found.setdefault(one.place, [])
        if one.runtime and one.runtime not in names:
            names.append(one.runtime)
    return [(place, ", ".join(names)) for place, names in found.items() if names]


def files(report: ProfileReport) -> list[tuple[str, str]]:
    """Model and the end of its path; the rest is the user's own and no help to other readers."""
    return [(one.name, "/".join(PurePath(one.path).parts[-2:])) for one in report.subjects]


def _environment(one: Environment) -> list[tuple[str, str]]:
    rows = [
        ("system", one.system),
        ("machine", one.machine),
        ("cores", str(one.cores) if one.cores else ""),
        ("memory", amount(one.memory_bytes, "bytes") if one.memory_bytes else ""),
        ("Python", one.python),
        ("numpy", one.numpy),
        ("onnxruntime", one.onnxruntime),
    ]
    return [(name, value) for name, value in rows if value]
