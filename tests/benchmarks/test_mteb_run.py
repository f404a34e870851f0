"""MTEB's tasks on a bundle; skipped where MTEB is not installed (``pip install mteb``)."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mteb", reason="pip install mteb")

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "mteb_run.py"
PAIRS = "word1,word2 word3,1\nword2 word5,word4 word5,5\nword7,word8 word9,2\nword1,word1,4\n"


@pytest.fixture
def called(exported, tmp_path):
    """``called(*arguments)``: the program on the encoder's bundle and its original."""
    original = tmp_path / "original"
    shutil.copytree(exported.source, original)
    config = original / "tokenizer_config.json"
    settings = json.loads(config.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    config.write_text(json.dumps(settings | {"pad_token": "[PAD]", "unk_token": "[UNK]"}))
    modules = json.loads((original / "modules.json").read_text())
    modules = [module | {"idx": i, "name": str(i)} for i, module in enumerate(modules)]
    (original / "modules.json").write_text(json.dumps(modules))
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (original / "1_Pooling/config.json").write_text(json.dumps(pooling))
    (original / "2_Normalize").mkdir()

    def call(*arguments):
        command = [sys.executable, PROGRAM, exported.bundle, "--original", original]
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
        )

    return call


def test_a_task_of_a_local_file(called, tmp_path):
    (tmp_path / "pairs.csv").write_text(PAIRS)
    done = called("--pairs", "pairs.csv")
    assert done.returncode == 0, done.stderr
    name, before, after, kept = (
        cell.strip() for cell in done.stdout.splitlines()[-1].split("|")[1:5]
    )
    assert name == "pairs"
    assert kept == f"{100 * float(after) / float(before):.2f}%"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "nothing to run; give --task NAME or --pairs FILE"),
        (("--pairs", "none.csv"), "none.csv is no csv of sentence, sentence, score"),
        (("--task", "NoSuchTask"), "NoSuchTask"),
    ],
)
def test_bad_input_is_one_line(called, arguments, reason):
    done = called(*arguments)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
