"""Damage to files: bytes of any file, values of JSON, fields of an ONNX model, lines of text."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from toolkit.bundle.manifest import MANIFEST_NAME, manifest_digest

Damage = Callable[[bytes, random.Random], bytes]

_VALUES = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 1.5, 1e300, 1e-300),
    *("", "x", "../x", "/etc/passwd", "a\0b", "\x1b[31m", "[red]x[/]", "x" * 5000, "\u202e", "é"),
    *([], {}, [1], {"a": 1}, [[[[]]]]),
]
_RAW = ["NaN", "-Infinity", "1e999", "9" * 400, "[" * 3000 + "]" * 3000, '{"a":' * 200, "\\ud800"]
_TEXTS = ["", "\0", "\u2028", "\x0c", "\x1b]0;x\x07", "\ud83d", "a" * 10_000, "\r", "\t", "é", "🙂"]


def any_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat or overwrite."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(len(out) + 1)
        way = rng.randrange(5)
        if way == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            del out[at:]
        elif way == 2:
            del out[at : at + rng.choice([1, 4, 100])]
        elif way == 3:
            out[at:at] = rng.randbytes(rng.choice([1, 4, 100]))
        else:
            out[at : at + 8] = rng.choice([b"\xff", b"\0", b"\x7f"]) * 8
    return bytes(out)


def json_values(data: bytes, rng: random.Random) -> bytes:
    """Another value, name or type somewhere; or text that is hardly JSON."""
    try:
        value = json.loads(data)
    except ValueError:
        return any_bytes(data, rng)
    for _ in range(rng.choice([1, 1, 3])):
        value = _changed(value, rng)
    text = json.dumps(value)
    if rng.random() < 0.2:
        places = [at for at, letter in enumerate(text) if letter in ":,["]
        if places:
            at = rng.choice(places) + 1
            text = text[:at] + rng.choice(_RAW) + "," + text[at:]
    return text.encode("utf-8", "surrogatepass")


def _changed(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(sorted(value))
        way = rng.random()
        if way < 0.1:
            return {key: one for key, one in value.items() if key != name}
        if way < 0.2:
            return {**value, str(rng.choice(_VALUES)): rng.choice(_VALUES)}
        return {**value, name: _changed(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], _changed(value[at], rng), *value[at + 1 :]]
    return rng.choice(_VALUES)


def onnx_fields(data: bytes, rng: random.Random) -> bytes:
    """Other fields of a model's tensors, nodes, inputs and versions."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:
        return any_bytes(data, rng)
    graph = model.graph
    for _ in range(rng.choice([1, 1, 2])):
        way = rng.randrange(8)
        if way == 0 and graph.initializer:
            tensor = rng.choice(graph.initializer)
            field = rng.randrange(5)
            if field == 0:
                del tensor.dims[:]
                tensor.dims.extend(rng.choice([[], [0], [-1, 4], [2**60], [3, 5], [2**31, 32]]))
            elif field == 1:
                tensor.data_type = rng.choice([0, 1, 2, 7, 8, 10, 16, 99])
            elif field == 2:
                tensor.raw_data = tensor.raw_data[: rng.randrange(64)]
            elif field == 3:
                tensor.name = str(rng.choice(_TEXTS)).encode("utf-8", "replace").decode()
            else:
                tensor.data_location = onnx.TensorProto.EXTERNAL
                place = rng.choice(["../x", "/etc/passwd", "", "x\0", "model.onnx", "nothing"])
                tensor.external_data.add(key="location", value=place)
                tensor.external_data.add(key="offset", value=rng.choice(["-1", "abc", str(2**63)]))
        elif way == 1 and graph.node:
            del graph.node[rng.randrange(len(graph.node))]
        elif way == 2 and graph.node:
            node = rng.choice(graph.node)
            node.op_type = rng.choice(["Gather", "Nothing", "If", "Loop", "", "Add", "Reshape"])
        elif way == 3 and graph.node:
            node = rng.choice(graph.node)
            if node.input:
                at = rng.randrange(len(node.input))
                node.input[at] = rng.choice(["", "nothing", node.input[0], *node.output[:1]])
        elif way == 4 and graph.input:
            del graph.input[rng.randrange(len(graph.input))]
        elif way == 5:
            del model.opset_import[:]
            for _ in range(rng.randrange(3)):
                model.opset_import.add(domain=rng.choice(["", "x"]), version=rng.choice([0, 1, 99]))
        elif way == 6 and model.functions:
            del model.functions[rng.randrange(len(model.functions))]
        elif graph.node:
            node = rng.choice(graph.node)
            if node.attribute:
                rng.choice(node.attribute).i = rng.choice([-1, 2**62, 0])
    return bytes(model.SerializeToString())


def text_lines(data: bytes, rng: random.Random) -> bytes:
    """Other lines, other encodings."""
    way = rng.randrange(5)
    if way == 0:
        return b""
    if way == 1:
        return data.decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-8-sig", "utf-32"]))
    if way == 2:
        return data + b"\xe9\xff\n"
    extra = rng.choice(_TEXTS).encode("utf-8", "replace")
    at = rng.randrange(len(data) + 1)
    return data[:at] + extra + data[at:]


def damage_of(path: Path) -> list[Damage]:
    """What may happen to a file, by its name."""
    if path.suffix == ".json":
        return [json_values, json_values, json_values, any_bytes]
    if path.suffix == ".onnx":
        return [onnx_fields, onnx_fields, any_bytes]
    if path.suffix in (".txt", ".jsonl", ".tsv"):
        return [text_lines, text_lines, any_bytes]
    return [any_bytes]


def seal(bundle: Path) -> None:
    """Make every digest right again, as whoever damages a bundle on purpose would."""
    path = bundle / MANIFEST_NAME
    try:
        data = json.loads(path.read_bytes())
        for name, told in data["files"].items():
            content = (bundle / name).read_bytes()
            told |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        data.pop("digest", None)
        data["digest"] = manifest_digest(data)
        path.write_text(json.dumps(data))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return  # damaged beyond what a digest could be of
