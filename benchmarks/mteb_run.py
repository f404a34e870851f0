"""MTEB's own tasks on a bundle and on the model that it was made from.

    pip install mteb
    python benchmarks/mteb_run.py minilm --original sentence-transformers/all-MiniLM-L6-v2 \\
        --task STSBenchmark --task Banking77Classification
    python benchmarks/mteb_run.py minilm --original ./all-MiniLM-L6-v2 --pairs stsb-en-dev.csv

Tasks are fetched by MTEB from the Hugging Face hub; ``--pairs`` makes one of a file here (sentence,
sentence, score). The bundle runs in onnxruntime, with its kernel where that is built, the original
in sentence-transformers. Both get the same texts and the same prompts: none.
"""

import csv
import sys
from pathlib import Path
from typing import Any

import click
import mteb
import numpy as np
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from numpy.typing import NDArray
from one_line import run
from sentence_transformers import SentenceTransformer

from runtime import FeatureExtraction, open_pipeline
from toolkit.errors import InputError

BATCH = 32


class BundleEncoder(AbsEncoder):
    """A bundle as MTEB calls a model: texts in, vectors float32 [n, d] out."""

    def __init__(self, bundle: Path) -> None:
        found = open_pipeline(bundle)
        if not isinstance(found, FeatureExtraction):
            raise InputError(f"{bundle} makes no sentence vectors; give a bundle of an encoder")
        self.model = found
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": f"lighttoken/{bundle.resolve().name}",
                "revision": "local",
                "similarity_fn_name": ScoringFunction.COSINE,
            }
        )

    def encode(self, inputs: Any, **_: Any) -> NDArray[np.float32]:
        texts = [text for batch in inputs for text in batch["text"]]
        order = np.argsort([-len(text) for text in texts])  # so that little is padded
        parts = [order[start : start + BATCH] for start in range(0, len(texts), BATCH)]
        vectors = np.concatenate([self.model([texts[i] for i in part]) for part in parts])
        return vectors[np.argsort(order)]


def sts_of(path: Path) -> AbsTaskSTS:
    """A task made of a file of sentence, sentence, score."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
        data = [
            {"sentence1": first, "sentence2": second, "score": float(score)}
            for first, second, score in rows
        ]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is no csv of sentence, sentence, score ({error}); give another"
        ) from error
    scores = [row["score"] for row in data]

    class LocalSTS(AbsTaskSTS):
        metadata = TaskMetadata(
            name=path.stem,
            dataset={"path": f"local/{path.stem}", "revision": "local"},
            description=f"Pairs of {path.name}.",
            type="STS",
            category="t2t",
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="cosine_spearman",
        )
        min_score, max_score = min(scores), max(scores)

        def load_data(self, *_: Any, **__: Any) -> None:
            self.dataset = DatasetDict({"test": Dataset.from_list(data)})
            self.data_loaded = True

    return LocalSTS()


@click.command(help=(__doc__ or "").splitlines()[0])
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--original", required=True, help="A folder or a hub id.")
@click.option("--task", "names", multiple=True, help="A task of MTEB, by its name.")
@click.option("--pairs", multiple=True, type=click.Path(path_type=Path), help="A csv file.")
def command(bundle: Path, original: str, names: tuple[str, ...], pairs: tuple[Path, ...]) -> None:
    if not names and not pairs:
        raise InputError("nothing to run; give --task NAME or --pairs FILE")
    ours = BundleEncoder(bundle)
    try:
        tasks = [*(mteb.get_tasks(tasks=list(names)) if names else []), *map(sts_of, pairs)]
        theirs = SentenceTransformer(original, device="cpu")
    except (KeyError, OSError, ValueError) as error:  # as MTEB and the hub say it
        raise InputError(f"{error}; check the name, and the network") from error
    scores = [
        mteb.evaluate(model, tasks, cache=None, show_progress_bar=False).task_results
        for model in (theirs, ours)
    ]
    print(f"| task | original | {bundle.name} | kept |\n|---|--:|--:|--:|")
    for of_original, of_bundle in zip(*scores, strict=True):
        before, after = (100 * float(each.get_score()) for each in (of_original, of_bundle))
        kept = 100 * after / before
        print(f"| {of_original.task_name} | {before:.2f} | {after:.2f} | {kept:.2f}% |")


if __name__ == "__main__":
    sys.exit(run(command, __file__, None, kept="results of tasks"))
