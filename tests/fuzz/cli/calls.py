"""Random command lines: a grammar of verbs, options and values, right ones and wrong ones."""

import random
from dataclasses import dataclass, field

NUMBERS = [
    "0",
    "1",
    "2",
    "-1",
    "1.5",
    "1e23",
    "nan",
    "inf",
    "-inf",
    "",
    "x",
    "99999999999999999999",
]
PATHS = [
    *("bundle", "decoder", "table.lt", "model/model.safetensors", "original.onnx", "text.txt"),
    *("pairs.tsv", "lines.jsonl", "matrix.npy", "results.json", "samples.json", "nothing", "."),
    *(
        "..",
        "",
        "/dev/null",
        "/dev/full",
        "-",
        "--",
        "bundle/model.onnx",
        "x" * 300,
        "a\x1bb",
        "a\udcff",
    ),
]
SOURCES = ["model", "original.onnx", "bundle", "bundle/model.onnx", "nothing", "decoder/model.onnx"]
BUNDLES = ["bundle", "bundle", "bundle", "decoder", "original.onnx", "model", "nothing", "table.lt"]


@dataclass(frozen=True)
class Verb:
    """A command: what stands where, its options with right values, and how often it is drawn."""

    name: str
    places: tuple[list[str], ...]
    options: dict[str, list[str]]
    weight: int = 10
    flags: list[str] = field(default_factory=list)
    always: tuple[str, ...] = ()


_TEXTS = ["w10 w11", "", "w1 " * 40, "é 🙂", "\x1b[31m", "[red]", "[MASK] w3", "w5"]
_FAST = ("--effort", "fast")
_OUT = ["out", "out", "out", "bundle", "text.txt", "model", "deep/er/out", "", "."]
VERBS = [
    Verb("inspect", (BUNDLES,), {"--top": ["3"]}, 30, ["--json"]),
    Verb(
        "run",
        (BUNDLES, _TEXTS, _TEXTS),
        {"--threads": ["1"], "--max-tokens": ["2"], "--temperature": ["0.7"], "--seed": ["3"],
         "--top-k": ["2"], "--top-p": ["0.5"], "--stop": ["w3"], "--provider": ["cpu"]},
        30,
        ["--json", "--no-op", "--no-chat"],
    ),
    Verb(
        "plan",
        (SOURCES,),
        {"--ratios": ["4"], "--languages": ["en", "de,", "xx"], "--vocabulary": ["text.txt"]},
        4,
        ["--json"],
    ),
    Verb(
        "compress",
        (["matrix.npy", "model/model.safetensors", *PATHS], ["out.lt", *_OUT]),
        {"--ratio": ["4"], "--max-bytes": ["900"], "--seed": ["1"], "--tensor": ["x"]},
        6,
        ["--json", "--force"],
        _FAST,
    ),
    Verb(
        "export",
        (SOURCES, _OUT),
        {"--ratio": ["4"], "--max-bytes": ["2000"], "--seed": ["2"], "--packed": ["table.lt"],
         "--weights": ["int8", "fp16"], "--target": ["cpu", "wasm"], "--decode": ["inline"],
         "--sample-inputs": ["samples.json"], "--corpus": ["text.txt"], "--exact-rows": ["0,2"],
         "--batch": ["2"], "--sequence": ["8"], "--table": ["t"], "--vocabulary": ["text.txt"],
         "--heal": ["own", "text.txt"], "--heal-steps": ["1"]},
        6,
        ["--json", "--force", "--with-past", "--all-tables", "--with-pooling"],
        _FAST,
    ),
    Verb(
        "evaluate",
        (["bundle", "table.lt", *BUNDLES],),
        {"--text": ["text.txt"], "--pairs": ["pairs.tsv", "lines.jsonl"], "--limit": ["4"],
         "--original": ["original.onnx", "model"], "--threads": ["1"], "--seed": ["1"],
         "--resamples": ["20"], "--model": ["original.onnx"]},
        8,
        ["--json"],
        ("--limit", "4"),
    ),
    Verb(
        "sweep",
        (["plan.yaml", "plan.yaml", "plan.toml", *PATHS], _OUT),
        {"--backend": ["loky", "dask"], "--scheduler": ["tcp://127.0.0.1:1"]},
        3,
        ["--json", "--keep"],
    ),
    Verb(
        "profile",
        (BUNDLES,),
        {"--text": ["text.txt"], "--threads": ["1"], "--batch": ["1"], "--report": ["r.html"],
         "--results": ["results.json"], "--length": ["4"], "--runs": ["1"]},
        1,
        ["--json"],
        ("--runs", "1", "--repeats", "1"),
    ),
    Verb(
        "push",
        (BUNDLES, ["me/small", "small", "a/b/c", "", "\x1b[31m", "-"]),
        {"--message": _TEXTS},
        3,
        ["--json", "--private", "--force"],
    ),
    Verb("doctor", (), {}, 1, ["--json"]),
    Verb("op", (), {"--out": ["out/x"]}, 1, ["--json"], ("--print",)),
    Verb("setup", (["nothing", ""],), {}, 1),
    Verb("nothing", (), {}, 1),
]  # fmt: skip


def command_line(rng: random.Random) -> list[str]:
    """One command line; most are right but for a value."""
    verb = rng.choices(VERBS, [each.weight for each in VERBS])[0]
    words = [verb.name]
    for place in verb.places[: rng.choice([len(verb.places)] * 9 + [0, 1])]:
        words.append(rng.choice(PATHS if rng.random() < 0.15 else place))
    for name, values in verb.options.items():
        if rng.random() < 0.15:
            wrong = rng.random() < 0.4
            words += [name, rng.choice([*NUMBERS, *PATHS] if wrong else values)]
    words += [flag for flag in verb.flags if rng.random() < 0.2]
    words += verb.always
    if rng.random() < 0.03:
        words.insert(
            rng.randrange(len(words) + 1), rng.choice(["--nothing", "-h", "--version", "-"])
        )
    return [word.replace("\0", "") for word in words]
