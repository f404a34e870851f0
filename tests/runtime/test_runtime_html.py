"""Profiles as HTML pages, and read back from JSON."""

import dataclasses
import json
import random
import re
from html.parser import HTMLParser

import pytest

from runtime.profile.environment import Environment
from runtime.profile.html import to_html, write_html
from runtime.profile.html.scale import linear, logarithmic
from runtime.profile.html.stacks import Share, Stack, draw_stacks
from runtime.profile.html.timelines import thin
from runtime.profile.html.lines import spread
from runtime.profile.html.words import amount, ratio_words, shorten
from runtime.profile.cuts import Island
from runtime.profile.placement import PlacedNode, Placement
from runtime.profile.predict import Prediction, Refusal
from runtime.profile.read import read_report
from runtime.profile.report import (
    FAILED,
    FUNCTION_ONLY,
    MEASURED,
    WRONG,
    Comparison,
    Measurement,
    Parity,
    ProfileReport,
    Statistic,
    Subject,
    Timeline,
)
from toolkit.errors import FormatError, InputError

GRID = ((1, 8), (1, 32), (1, 128), (1, 512), (8, 8), (8, 128))
OURS, ORIGINAL, INT8 = "lighttoken-int4", "original", "int8"
NAMES = (OURS, ORIGINAL, INT8)
MB = 1_000_000
PLACES = ("cpu", "xnnpack", "wasm", "webgpu", "qnn", "arm64")
SIZE = {OURS: 7.93, ORIGINAL: 90.33, INT8: 23.0}
PARTS = {
    OURS: {
        "token table": 1_872_770,
        "other tables": 199_000,
        "weights": 5_600_000,
        "graph": 258_230,
    },
    ORIGINAL: {
        "token table": 46_881_792,
        "other tables": 789_504,
        "weights": 42_500_000,
        "graph": 158_704,
    },
    INT8: {
        "token table": 11_720_448,
        "other tables": 200_000,
        "weights": 10_900_000,
        "graph": 179_552,
    },
}
COST = {"cpu": 1.0, "xnnpack": 1.4, "wasm": 2.6, "webgpu": 4.1}
PACE = {OURS: 0.82, ORIGINAL: 1.0, INT8: 0.61}


def figures(name, place, rng):
    """Figures as a machine with some noise would give."""

    def around(value):
        return Statistic.of([value * (1 + 0.06 * rng.random()) for _ in range(5)])

    held = {"disk_bytes": Statistic.of([sum(PARTS[name].values())] * 5)}
    held["download_bytes"] = Statistic.of([0.9 * sum(PARTS[name].values())] * 5)
    size, cost, pace = SIZE[name], COST[place], PACE[name]
    held["load_ms"] = around(cost * (40 + 0.4 * size))
    held["first_result_ms"] = around(cost * (48 + 0.45 * size))
    if place == "cpu":
        held["cold_load_ms"] = around(60 + 0.9 * size)
        held["cold_first_result_ms"] = around(66 + 1.1 * size)
        held["initializer_bytes"] = around(size * MB)
    if place in ("cpu", "xnnpack"):
        for stage, share in (("load", 1.1), ("first", 1.15), ("steady", 1.2)):
            for kind, part in (("rss", 1), ("uss", 0.97), ("pss", 0.98), ("anonymous", 0.6)):
                held[f"{stage}_{kind}_bytes"] = around((8 + size * share) * part * MB)
        held["before_rss_bytes"] = around(71 * MB)
        held["before_uss_bytes"] = around(52 * MB)
        held["load_mapped_bytes"] = around(0.4 * size * MB)
        held["peak_rss_bytes"] = around((11 + 1.3 * size) * MB)
    else:
        held["load_page_bytes"] = around((20 + 2.1 * size) * MB)
        held["load_wasm_heap_bytes"] = around((12 + 1.9 * size) * MB)
    for batch, length in GRID:
        middle = cost * pace * (1.2 + 0.26 * batch * length * (1 + length / 2000))
        for share, factor in ((50, 1), (95, 1.18), (99, 1.4)):
            held[f"latency_{batch}x{length}_p{share}_ms"] = around(middle * factor)
        held[f"throughput_{batch}x{length}_tokens_s"] = around(1000 * batch * length / middle)
    return held


def timeline(name, rng):
    """A load with a peak, a first run, a steady state."""
    size, load = SIZE[name], 40 + 0.4 * SIZE[name]
    points = []
    for ms in [*range(0, 200, 2), *range(200, 4000, 40)]:
        level = (8 + 1.3 * size) * min(ms / load, 1) if ms < load + 8 else 8 + 1.15 * size
        points.append((float(ms), MB * (level + 0.4 * rng.random() + min(ms / 900, 2))))
    return Timeline(tuple(points), ((load, "load"), (load + 14, "first"), (3980.0, "steady")))


def placement(name):
    wanted, cpu = "XnnpackExecutionProvider", "CPUExecutionProvider"
    body = {"MatMul": 48, "Add": 61, "Softmax": 6, "LayerNormalization": 13}
    rest = {"Gather": 5, "com.microsoft::MatMulNBits": 36, "Erf": 6, "Where": 2}
    return Placement(
        wanted=wanted,
        source="assigned",
        nodes={wanted: body, cpu: {**rest, "Shape": 9}},
        fallback=rest,
        islands=(Island(wanted, body), Island(cpu, rest), Island(cpu, {"Shape": 9}, True)),
        crossing_tensors=44,
        crossing_bytes=8_400_000,
        crossing_unsized=3,
        shape_nodes=9,
        unmatched=2,
        advice=("MatMulNBits is not in XNNPACK: export with --body fp32.",),
        details=(
            PlacedNode("m0", "MatMul", wanted, microseconds=5200.0),
            PlacedNode("g0", "Gather", cpu, microseconds=300.0),
        ),
    )


def prediction(place, date):
    return Prediction(
        place=place,
        subject=OURS,
        provider=f"{place.upper()}ExecutionProvider",
        source="onnxruntime, table of supported operators",
        date=date,
        taken={"MatMul": 48, "Add": 61},
        refused=(Refusal("GatherBlockQuantized", "not in the table", 1),),
        shape_nodes=9,
        islands=(Island("CPUExecutionProvider", {"GatherBlockQuantized": 1}),),
        crossing_tensors=2,
        crossing_bytes=98_304,
        crossing_unsized=0,
        advice=("Export with --batch 1 --sequence 128.",),
    )


def sample(names=NAMES):
    """Three models in six places: measured, function only, wrong, failed."""
    rng = random.Random(7)
    rename = dict(zip(NAMES, names, strict=True))
    taken = []
    for place in PLACES:
        for name in NAMES:
            if place == "qnn":
                note = "onnxruntime_qnn is not here; `lighttoken setup qnn` gets it"
                taken.append(Measurement(rename[name], place, FAILED, note))
            elif place == "arm64":
                note = "64-bit ARM under qemu: function only, times mean nothing"
                one = Measurement(rename[name], place, FUNCTION_ONLY, note, "onnxruntime 1.31.1")
                taken.append(dataclasses.replace(one, parity=Parity(3.1e-6, 1e-4)))
            elif (place, name) == ("webgpu", INT8):
                note = "outputs differ by 0.31 of the largest value"
                one = Measurement(rename[name], place, WRONG, note, "onnxruntime-web 1.30.0")
                taken.append(dataclasses.replace(one, parity=Parity(0.31, 0.02)))
            else:
                web = place in ("wasm", "webgpu")
                runtime = "onnxruntime-web 1.30.0" if web else "onnxruntime 1.31.1"
                taken.append(
                    Measurement(
                        rename[name],
                        place,
                        MEASURED,
                        "headless Chromium; the GPU is one in software"
                        if place == "webgpu"
                        else "",
                        runtime,
                        figures(name, place, rng),
                        Parity(2.4e-6, 1e-4),
                        placement(name) if place == "xnnpack" and name == OURS else None,
                        timeline(name, rng) if place in ("cpu", "xnnpack") else None,
                        Environment("Linux 6.1", "Pixel 8", 8, 8_000_000_000)
                        if place == "xnnpack"
                        else None,
                    )
                )
    found = {(one.subject, one.place): one for one in taken}
    return ProfileReport(
        subjects=tuple(Subject(rename[n], f"{rename[n]}/model.onnx", PARTS[n]) for n in NAMES),
        places=PLACES,
        measurements=tuple(taken),
        comparisons=tuple(
            Comparison.of(found[names[0], place], found[other, place])
            for place in COST
            for other in names[1:]
            if found[other, place].status == MEASURED
        ),
        environment=Environment("Linux", "Some CPU", 2, 8 * 10**9, "3.11.9", "2.3.1", "1.31.1"),
        threads=1,
        grid=GRID,
        runs=50,
        repeats=5,
        text_tokens=0,
        predictions=(prediction("nnapi", "2026-03-01"), prediction("webnn", "2026-05-12")),
    )
