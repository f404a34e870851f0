"""Real checkpoints, exported as `lighttoken export SOURCE OUT` does it: a Markdown row each.

usage: python benchmarks/checkpoints.py SOURCE [SOURCE ...]

A SOURCE is a hub id, a folder or an .onnx file; a decoder is exported with its cache. Rows are
printed as they are done.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from exporters import ExportOptions, export
from exporters.sources.facts import read_facts
from toolkit.bundle.manifest import Manifest
from toolkit.errors import LightTokenError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sources", nargs="+")
    print("| checkpoint | task | files | tables | table | whole model | rewrite | time |")
    print("|---|---|---:|---|---:|---:|---:|---:|", flush=True)
    for source in parser.parse_args().sources:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as work:
            try:
                options = ExportOptions(with_past=writes(Path(source)))
                manifest = export(source, Path(work) / "bundle", options=options)
            except LightTokenError as error:
                print(f"| {Path(source).name} | refused: {error} | | | | | | |", flush=True)
                continue
        print(row(manifest, time.perf_counter() - start), flush=True)


def writes(source: Path) -> bool:
    return source.is_dir() and read_facts(source).task == "text-generation"


def row(manifest: Manifest, seconds: float) -> str:
    footprint, parity = manifest.footprint, manifest.parity
    tables = ", ".join(f"{t.rows:,} x {t.width}, {t.form}" for t in manifest.tables)
    whole = f"{footprint.original_model_bytes / 1e6:.1f} → {footprint.model_bytes / 1e6:.1f} MB"
    return (
        f"| {manifest.source.name} | {manifest.task} | {1 + len(manifest.further)} | {tables} | "
        f"{footprint.ratio:.1f}x | {whole} | {parity.rewrite:.1e} | {seconds / 60:.1f} min |"
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
