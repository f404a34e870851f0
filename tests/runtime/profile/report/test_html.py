"""Profiles as HTML pages, and read back from JSON."""

import dataclasses
import html as markup
import json
import math
import os
import random
import re
import subprocess
import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest

from runtime.profile.placement.cuts import Island
from runtime.profile.placement.placement import PlacedNode, Placement
from runtime.profile.predict.predict import Prediction, Refusal
from runtime.profile.report.html import page as page_module
from runtime.profile.report.html import to_html, write_html
from runtime.profile.report.html.bars import Bar, BarGroup, Share, Stack, draw_bars, draw_stacks
from runtime.profile.report.html.lines import Line, apart, draw_lines, thin
from runtime.profile.report.html.page import check_page
from runtime.profile.report.html.words import amount, ratio_words, shorten
from runtime.profile.report.html.words import spread as range_of
from runtime.profile.report.read import read_report
from runtime.profile.report.report import (
    FAILED,
    FUNCTION_ONLY,
    MEASURED,
    WRONG,
    Comparison,
    Environment,
    Measurement,
    OutputCheck,
    ProfileReport,
    Statistic,
    Subject,
    Timeline,
)
from toolkit.errors import FormatError, InputError, MissingDependencyError

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
        advice=("MatMulNBits is not in XNNPACK: export with --weights fp32.",),
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
                taken.append(dataclasses.replace(one, parity=OutputCheck(3.1e-6, 1e-4)))
            elif (place, name) == ("webgpu", INT8):
                note = "outputs differ by 0.31 of the largest value"
                one = Measurement(rename[name], place, WRONG, note, "onnxruntime-web 1.30.0")
                taken.append(dataclasses.replace(one, parity=OutputCheck(0.31, 0.02)))
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
                        OutputCheck(2.4e-6, 1e-4),
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


@pytest.fixture(scope="module")
def report():
    return sample()


@pytest.fixture(scope="module")
def page(report):
    return to_html(report)


def section(page, key):
    """The source of one section."""
    return page.split(f'<section aria-labelledby="{key}">')[1].split("</section>")[0]


def words(source):
    """What a reader sees and a screen reader says."""
    return " ".join(markup.unescape(re.sub(r"<[^>]+>", " ", source)).split())


def changed(report, subject, place, **values):
    """The report with one measurement changed."""
    taken = tuple(
        dataclasses.replace(one, **values) if (one.subject, one.place) == (subject, place) else one
        for one in report.measurements
    )
    return dataclasses.replace(report, measurements=taken)


class Tags(HTMLParser):
    """Whether what is opened is closed, in turn, and ids are unique and there where named."""

    EMPTY = ("meta", "br", "hr", "img", "link", "input", "wbr")

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.named, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.named += values.get("aria-labelledby", "").split()
        self.named += [values["href"][1:]] if "href" in values else []
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_sound_markup(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert len(tags.ids) == len(set(tags.ids))
    assert set(tags.named) <= set(tags.ids)
    assert tags.tags.count("svg") > 10
    assert tags.tags.count("desc") == tags.tags.count("svg")


def test_page_needs_nothing_else(page):
    assert not re.search(r"https?:|//|url\(|@import|src=|<script|<link", page)
    assert "default-src 'none'" in page


def test_page_is_small(page):
    assert len(page.encode()) < 150_000


def test_sections_are_in_order(page):
    keys = re.findall(r'<section aria-labelledby="(\w+)"', page)
    wanted = "headline bytes memory latency places partition predicted figures method"
    assert keys == wanted.split()


def test_user_text_is_escaped():
    evil = '<script>alert("1")</script>&'
    report = sample((evil, "</svg></style>" + ORIGINAL, INT8))
    report = changed(report, evil, "cpu", note=evil, runtime=evil)
    page = to_html(dataclasses.replace(report, places=(*PLACES, evil)))
    assert "<script" not in page
    assert page.count("</style>") == 1
    assert evil in words(section(page, "headline")) or evil in words(page)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []


def test_control_characters_are_shown():
    evil = "\x1b[31m\x00\x07\r\x9b\u202e\udcff $x$ `a` [red]"
    report = sample((evil, ORIGINAL, INT8))
    page = to_html(changed(report, evil, "cpu", note=evil, runtime=evil))
    page.encode()  # lone surrogates could not be written
    assert not {one for one in page if unicodedata.category(one) in ("Cc", "Cf")} - {"\n"}
    assert "\\x1b[31m\\x00\\x07\\r\\x9b\\u202e\\udcff $x$" in page


def test_headline_ratio_is_the_comparisons(report):
    said = Comparison("cpu", ORIGINAL, {"disk_bytes": 0.2, "load_rss_bytes": 0.8})
    page = to_html(dataclasses.replace(report, comparisons=(said,)))
    text = words(section(page, "headline"))
    assert "Against original, on cpu" in text
    assert "5.00 times smaller than original: 90.33 MB" in text
    assert "0.80 of the bytes of original" in text
    assert "of the time" not in text


def test_headline_without_another_model_compares_nothing(report):
    alone = dataclasses.replace(
        report,
        subjects=report.subjects[:1],
        measurements=tuple(one for one in report.measurements if one.subject == OURS),
        comparisons=(),
    )
    page = to_html(alone)
    text = words(section(page, "headline"))
    assert "7.93 MB" in text
    assert "512 tokens, median call" in text
    assert "smaller" not in text
    assert ORIGINAL not in words(page)


def test_headline_names_the_place_that_it_is_from(report):
    turned = dataclasses.replace(report, places=("qnn", "cpu"))
    text = words(section(to_html(turned), "headline"))
    assert "on cpu" in text
    assert "qnn comes first in this profile, but nothing was measured there" in text


def test_headline_takes_the_longest_text_that_both_have(report):
    figures = report.measurement(ORIGINAL, "cpu").figures
    fewer = {name: one for name, one in figures.items() if "1x512" not in name}
    report = changed(report, ORIGINAL, "cpu", figures=fewer)
    ours, other = report.measurement(OURS, "cpu"), report.measurement(ORIGINAL, "cpu")
    report = dataclasses.replace(report, comparisons=(Comparison.of(ours, other),))
    assert "128 tokens, median call" in words(section(to_html(report), "headline"))


def test_nothing_measured_still_gives_a_page(report):
    failed = tuple(Measurement(name, "qnn", FAILED, "no such library") for name in NAMES)
    empty = dataclasses.replace(
        report, places=("qnn",), measurements=failed, comparisons=(), predictions=()
    )
    page = to_html(dataclasses.replace(empty, subjects=(Subject(OURS, "model.onnx"),)))
    assert "Nothing was measured" in words(section(page, "headline"))
    assert "no such library" in words(section(page, "places"))
    assert 'aria-labelledby="memory"' not in page


def test_parts_stand_beside_totals(page):
    text = words(section(page, "bytes"))
    assert "token table 46.88 MB" in text
    assert "90.33 MB, 81.30 MB gzip" in text


def test_every_place_keeps_its_row(page):
    text = words(section(page, "places"))
    status = text.split("How each model did in each place")[-1]
    for place in PLACES:
        assert place in status
    assert "lighttoken setup qnn gets it" in status
    assert status.count("failed") == status.count("function only") - 1 == 3
    assert "wrong values" in status


def test_absent_figures_are_not_zero(report):
    place = report.measurement(ORIGINAL, "cpu")
    fewer = {name: one for name, one in place.figures.items() if not name.startswith("load_rss")}
    page = to_html(changed(report, ORIGINAL, "cpu", figures=fewer))
    bars = section(page, "places").split("Memory after load, by place")[1].split("</svg>")[0]
    assert "original not told here" in bars
    assert bars.split("</desc>")[1].count("<g><title>") == 3 * len(COST) - 2
    row = section(page, "figures").split("memory after load (RSS)")[1].split("</tr>")[0]
    assert row.count("<td>–</td>") == 1
    assert "0.00 MB" not in words(page)


def test_times_of_function_only_places_are_not_drawn(report):
    figures = report.measurement(OURS, "cpu").figures
    page = to_html(changed(report, OURS, "arm64", figures=figures))
    assert "arm64" not in words(section(page, "latency"))
    bars = section(page, "places").split("512 tokens, median call, by place")[1].split("</svg>")[0]
    assert "arm64: lighttoken-int4 function only" in bars


def test_figures_tell_what_another_place_tells(page):
    tables = section(page, "figures").split("<summary>")[1:]
    assert [table.split("<")[0] for table in tables] == list(COST)
    assert "Told in other places, not here: wasm heap after load" in words(tables[0])
    assert "not here: wasm heap" not in words(tables[2])


def test_a_metric_without_words_is_told(report):
    figures = {**report.measurement(OURS, "cpu").figures, "odd_new_bytes": Statistic.of([2e6, 4e6])}
    text = words(section(to_html(changed(report, OURS, "cpu", figures=figures)), "figures"))
    assert "odd new 3.00 MB 2.00 – 4.00 – –" in text


def test_figures_hold_every_median(report, page):
    text = words(section(page, "figures"))
    for one in report.measurements:
        for name, figure in one.figures.items():
            if name.endswith("_ms"):
                assert amount(figure.median, "ms") in text


def test_timelines_have_a_panel_a_model(page):
    source = section(page, "memory")
    assert source.count("<figure") == 6
    assert "1. " not in source  # the browser numbers them
    assert "loaded: 43.2 ms" in words(source)
    assert source.count("stroke-opacity") == 2 * 6  # each of the others, faint


def test_partition_tells_islands_cuts_and_advice(page):
    text = words(section(page, "partition"))
    assert "128 of 186 nodes on Xnnpack" in text
    assert "MatMulNBits is not in XNNPACK" in text
    assert "44 values, 8.40 MB a call, 3 of unknown size" in text
    assert "CPU, 49 nodes: com.microsoft::MatMulNBits 36, Erf 6, Gather 5, Where 2" in text
    assert "MatMul Xnnpack 5.20 ms 94.5%" in text


def test_predictions_are_apart_and_marked(page):
    text = words(section(page, "predicted"))
    assert text.count("predicted, nothing was run") == 2
    assert "2026-03-01" in text
    assert "onnxruntime, table of supported operators" in text
    assert "not in the table: GatherBlockQuantized 1" in text
    rest = words(page.replace(section(page, "predicted"), ""))
    assert "nnapi" not in rest.lower()
    assert "GatherBlockQuantized" not in rest


def test_no_predictions_no_section(report):
    page = to_html(dataclasses.replace(report, predictions=()))
    assert "redicted" not in words(page.split("</style>")[1])


def test_method_names_settings_and_machines(report, page):
    text = words(section(page, "method"))
    assert f"schema {report.schema}" in text
    assert "Of xnnpack" in text
    assert "Pixel 8" in text
    assert "timed calls a point 50" in text
    assert "drawn" in text


def test_paths_lose_the_folders_of_the_user(report):
    subject = dataclasses.replace(report.subjects[0], path="/home/ann/work/bundle/model.onnx")
    page = to_html(dataclasses.replace(report, subjects=(subject, *report.subjects[1:])))
    assert "bundle/model.onnx" in page
    assert "ann/work" not in page


def test_colours_have_contrast():
    """Text 4.5 to 1 on its ground, marks 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    style = (Path(page_module.__file__).parent / "templates" / "style.css").read_text()
    light, dark = (
        dict(re.findall(r"--([\w]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.S)[:2]
    )
    for colours in (light, {**light, **dark}):
        for name in ("ink", "muted", "link", "ok", "function", "wrong", "failed"):
            for ground in ("page", "card"):
                assert contrast(colours[name], colours[ground]) >= 4.5, name
        for number in range(6):
            assert contrast(colours[f"s{number}"], colours["card"]) >= 4.5  # names are in it too
            part = colours[f"p{number + 1}"]
            assert contrast(part, colours["card"]) >= 3, number
            assert contrast(colours[f"on{number + 1}"], part) >= 4.5, number


def contrast(one, other):
    def luminance(colour):
        shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear_ = [s / 12.92 if s <= 0.03928 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return 0.2126 * linear_[0] + 0.7152 * linear_[1] + 0.0722 * linear_[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_thinned_lines_keep_their_peak():
    points = [(float(at), 1000.0 if at == 777 else at / 10) for at in range(2000)]
    thinned = thin(points, 100)
    assert len(thinned) <= 110
    assert (777.0, 1000.0) in thinned
    assert thinned[0] == points[0]
    assert thinned[-1] == points[-1]
    assert thinned == sorted(thinned)


def test_numbers_do_not_cover_each_other():
    placed = apart([0.50, 0.51, 0.52, 0.99], 0.06, 1.0)
    assert placed == pytest.approx([0.50, 0.56, 0.62, 0.99])
    assert apart([0.98, 0.99, 1.0], 0.06, 1.0) == pytest.approx([0.88, 0.94, 1.0])


def test_stacks_are_to_scale():
    stacks = [Stack("a", "4", (Share(1, "x", 3, "3"), Share(2, "y", 1, "1"))), Stack("b", "1", ())]
    source = str(draw_stacks("key", "title", stacks))
    bars = re.findall(r"</title><path d=\"M ([\d.]+) [\d.]+ ([\d.]+)", source)
    assert [(float(left), float(right)) for left, right in bars] == [(0, 255), (255, 340)]
    assert words(source).endswith("1 x 2 y")


def test_a_line_is_to_scale():
    """Twice as many ms are as far apart everywhere on a logarithmic axis."""
    points = ((8.0, 1.0, 1.0), (32.0, 4.0, 4.0), (128.0, 16.0, 16.0))
    source = str(draw_lines("key", "title", [Line("a", 0, points)], "tokens", "ms", "told"))
    drawn = re.search(r'd="M ([-\d. ]+)" style="stroke:var\(--s0\);stroke-width:2"', source)
    x1, y1, x2, y2, x3, y3 = map(float, drawn[1].split())
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2)
    assert "tokens, logarithmic" in source
    assert "ms, logarithmic" in source


def test_a_page_is_the_same_each_time(report, page):
    assert to_html(report) == page


def test_a_matplotlibrc_in_the_folder_changes_nothing(tmp_path):
    """Not that of a folder which somebody downloaded: it may even start TeX."""
    program = (
        "from runtime.profile.report.html.bars import Bar, BarGroup, draw_bars\n"
        "bars = (Bar('a', 0, '1 ms', 1.0, 1.0, 1.0),)\n"
        "print(draw_bars('key', 'title', [BarGroup('b', '', bars)]))"
    )
    told = []
    settings = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    for content in ("", "text.usetex: True\nfont.size: 40\naxes.labelsize: 90\n"):
        (tmp_path / "matplotlibrc").write_text(content)
        command = [sys.executable, "-P", "-c", program]
        done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    assert told[0] == told[1]
    assert "<svg" in told[0]


def test_names_are_drawn_as_they_are():
    group = BarGroup("$x_1$", "", (Bar("_名前", 0, "1 ms", 1.0, 1.0, 1.0),))
    text = words(str(draw_bars("key", "title", [group])))
    assert text.endswith("_名前 $x_1$ 1 ms")


def test_without_matplotlib_one_line_says_what_to_install(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'lighttoken\[report\]'"):
        to_html(report)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (7_930_000, "bytes", "7.93 MB"),
        (131_900_000, "bytes", "131.9 MB"),
        (1_200_000_000, "bytes", "1.20 GB"),
        (1234, "bytes", "1.2 kB"),
        (-250_000, "bytes", "−0.25 MB"),
        (0, "bytes", "0 B"),
        (44.0, "ms", "44.0 ms"),
        (0.04712, "ms", "0.0471 ms"),
        (12_345, "ms", "12.3 s"),
        (0.125, "share", "12.5%"),
        (4321.4, "tokens/s", "4,321 tokens/s"),
    ],
)
def test_amounts(value, unit, text):
    assert amount(value, unit) == text


def test_words():
    assert ratio_words(0.0878, "bytes") == ("11.4 times smaller", "than")
    assert ratio_words(0.68, "bytes") == ("0.68 of the bytes", "of")
    assert ratio_words(0.94, "ms") == ("0.94 of the time", "of")
    assert ratio_words(1.03, "ms") == ("1.03 times the time", "of")
    assert ratio_words(5.717, "bytes") == ("5.72 times the bytes", "of")
    assert range_of(Statistic.of([1.0, 2.0]), "ms") == "1.00 – 2.00"
    assert range_of(Statistic.of([50_000.0, 2e6]), "bytes") == "50.0 kB – 2.00 MB"
    assert range_of(Statistic.of([1.0, 1.0]), "ms") == ""
    assert shorten("lighttoken-int4", 9) == "ligh…int4"


def test_write_html(report, page, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    write_html(report, path)
    assert path.read_text(encoding="utf-8") == page
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="create it first"):
        write_html(report, tmp_path / "nowhere" / "report.html")


def test_report_comes_back_from_json(report, page):
    back = read_report(json.loads(json.dumps(report.to_dict())))
    assert back == report
    assert isinstance(back.grid, tuple)
    assert to_html(back) == page


def nested(depth):
    data = []
    for _ in range(depth):
        data = [data]
    return data


def damaged(**values):
    return {**sample().to_dict(), **values}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1], "a profile is a JSON object, got list"),
        ({"schema": 2}, "kind is None"),
        (damaged(kind="lighttoken device results"), "kind is 'lighttoken device results'"),
        (damaged(schema=1), "schema 1, this version reads 2"),
        (damaged(schema=True), "schema True"),
        (damaged(runs="50"), r"profile\.runs should be int, got '50'"),
        (damaged(grid=[[1, 8, 9]]), r"profile\.grid\[0\] should be a list of 2"),
        (damaged(subjects=[{"name": "a"}]), r"profile\.subjects\[0\]\.path is missing"),
        (damaged(environment=None), r"profile\.environment should be an object, got None"),
        (damaged(comparisons={"a": 1}), r"profile\.comparisons should be a list"),
        (damaged(runs=math.nan), "a number that no float holds"),
        (damaged(measurements=[{"x": [-math.inf]}]), "a number that no float holds"),
        (damaged(threads=10**400), "a number that no float holds"),
        (damaged(places=nested(100_000)), "nested too deep"),
    ],
)
def test_what_is_no_profile_is_refused(data, message):
    with pytest.raises(FormatError, match=message) as caught:
        read_report(data)
    assert "\n" not in str(caught.value)


def test_reader_ignores_what_it_does_not_know():
    assert read_report(damaged(later="thing")) == sample()
    without = damaged()
    del without["predictions"]
    assert read_report(without) == dataclasses.replace(sample(), predictions=())


def writer(name, speed):
    told = {
        "disk_bytes": 95e6,
        "first_token_512_ms": 900 / speed,
        "writing_512_tokens_s": speed,
        "writing_512_read_bytes": 108.5e6,
        "writing_512_bandwidth_share": 0.123,
        "writing_512_peak_rss_bytes": 333e6,
        "copy_bytes_s": 11.2e9,
    }
    return Measurement(
        name, "cpu", MEASURED, figures={n: Statistic.of([v, v]) for n, v in told.items()}
    )


def test_a_decoder_has_a_section_of_its_own():
    ours, original = writer("ours", 30.0), writer("original", 20.0)
    report = ProfileReport(
        subjects=(Subject("ours", "/a/ours"), Subject("original", "/a/original")),
        places=("cpu",),
        measurements=(ours, original),
        comparisons=(Comparison.of(ours, original),),
        environment=Environment("Linux", "x86", 2, 8_000_000_000),
        threads=1,
        grid=((1, 512),),
        runs=3,
        repeats=2,
        text_tokens=0,
        tokens=48,
    )
    page = to_html(report)
    section = page.split('id="writing"')[1].split("</section>")[0]
    for words in ("read for a token, after 512 tokens", "108.5 MB", "12.3%", "11.2 GB/s"):
        assert words in section
    assert "peak" not in section
    assert "1.50 times the speed" in page
    assert "wrote 48 tokens" in page
    assert "latency" not in section
    assert read_report(json.loads(json.dumps(report.to_dict()))) == report


def test_a_page_replaces_a_page_and_nothing_else(report, tmp_path):
    path = tmp_path / "report.html"
    check_page(path)
    write_html(report, path)
    check_page(path)
    path.write_text("my notes")
    with pytest.raises(InputError, match=r"report.html exists and is no page of lighttoken"):
        check_page(path)
    path.unlink()
    path.symlink_to("elsewhere.html")
    with pytest.raises(InputError, match=r"report.html is a link to elsewhere.html, which is not"):
        check_page(path)
