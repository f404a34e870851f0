from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tests.codebooks import is_additive
from toolkit import CompressedEmbedding
from toolkit.methods.compress import METHODS


def test_npy(lighttoken, small_table: NDArray[np.float32], tmp_path: Path):
    np.save(tmp_path / "table.npy", small_table)
    out = tmp_path / "packed.safetensors"
    outcome = lighttoken("compress", tmp_path / "table.npy", out, "--ratio", 8, "--json")
    assert outcome.code == 0
    assert outcome.json["ratio"] >= 8
    assert outcome.json["nbytes"] == out.stat().st_size
    assert 0 < outcome.json["relative_error"] < 1
    assert CompressedEmbedding.load(out).lookup([3, 4]).shape == (2, small_table.shape[1])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_the_largest_matrix_of_a_safetensors_file(
    lighttoken, small_table: NDArray[np.float32], tmp_path: Path, dtype: type
):
    tensors = {"bias": np.zeros((4, 4), np.float32), "table": small_table.astype(dtype)}
    save_file(tensors, tmp_path / "model.safetensors")
    outcome = lighttoken(
        "compress", tmp_path / "model.safetensors", tmp_path / "out.safetensors", "--ratio", 8
    )
    assert outcome.code == 0
    assert "707 x 48" in outcome.out


def test_same_seed_same_bytes(lighttoken, small_table: NDArray[np.float32], tmp_path: Path):
    np.save(tmp_path / "table.npy", small_table)
    for name in ("a", "b"):
        lighttoken("compress", tmp_path / "table.npy", tmp_path / name, "--ratio", 8)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("effort", ["fast", "best"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_every_effort(
    lighttoken, small_table: NDArray[np.float32], tmp_path: Path, method: str, effort: str
):
    np.save(tmp_path / "table.npy", small_table)
    arguments = ("--ratio", 3, "--method", method, "--effort", effort)
    assert lighttoken("compress", tmp_path / "table.npy", tmp_path / "out", *arguments).code == 0


def test_codebooks_are_split_where_that_is_asked_for(lighttoken, small_table, tmp_path: Path):
    np.save(tmp_path / "table.npy", small_table)
    arguments = ("compress", tmp_path / "table.npy", tmp_path / "out", "--ratio", 8, "--force")
    for options, expected in (((), False), (("--additive-codebooks", "--effort", "fast"), True)):
        assert lighttoken(*arguments, *options).code == 0
        stages = CompressedEmbedding.load(tmp_path / "out").stages
        books = [torch.from_numpy(s.codebook) for s in stages if s.codes.shape[1] > 1]
        assert {is_additive(book) for book in books} == {expected}


@pytest.mark.parametrize("method", METHODS[1:])
def test_other_methods_have_no_codebooks(fails, small_table, tmp_path: Path, method: str):
    np.save(tmp_path / "table.npy", small_table)
    arguments = ("compress", tmp_path / "table.npy", tmp_path / "out", "--ratio", 3)
    line = fails(*arguments, "--method", method, "--split-codebooks")  # the old name
    assert f"method {method} has no codebooks" in line
    assert "--method lighttoken" in line
    assert not (tmp_path / "out").exists()


def test_bad_input(fails, small_table: NDArray[np.float32], tmp_path: Path):
    out = tmp_path / "out.safetensors"
    assert "no.npy" in fails("compress", tmp_path / "no.npy", out)
    (tmp_path / "bad.npy").write_bytes(b"x")
    assert "numpy.save" in fails("compress", tmp_path / "bad.npy", out)
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 20)
    assert "no safetensors file" in fails("compress", tmp_path / "bad.safetensors", out)
    np.save(tmp_path / "vector.npy", np.ones(5, np.float32))
    assert "(5,)" in fails("compress", tmp_path / "vector.npy", out)
    save_file({"t": small_table}, tmp_path / "model.safetensors")
    line = fails("compress", tmp_path / "model.safetensors", out, "--tensor", "u")
    assert "largest matrices: t" in line
    assert not out.exists()


def test_existing_out_needs_force(lighttoken, fails, small_table, tmp_path: Path):
    np.save(tmp_path / "table.npy", small_table)
    (tmp_path / "out").write_text("mine")
    assert "--force" in fails("compress", tmp_path / "table.npy", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"
    arguments = ("compress", tmp_path / "table.npy", tmp_path / "out", "--ratio", 8, "--force")
    assert lighttoken(*arguments).code == 0


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_the_matrix_is_never_replaced(fails, small_table, tmp_path: Path, force: tuple[str, ...]):
    source = tmp_path / "table.npy"
    np.save(source, small_table)
    before = source.read_bytes()
    (tmp_path / "hard").hardlink_to(source)
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "folder").mkdir()
    for name in ("table.npy", "hard", "folder/../table.npy"):
        line = fails("compress", source, tmp_path / name, "--ratio", 8, *force)
        assert ("which is read" if force else "exists; pass --force") in line
    assert "is a link to" in fails("compress", source, tmp_path / "link", *force)
    assert "is a folder" in fails("compress", source, tmp_path / "folder", *force)
    assert "is a device or a pipe" in fails("compress", source, "/dev/null", *force)
    assert source.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 4


def test_a_file_that_appears_meanwhile_is_left(
    fails, small_table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from toolkit.table import metrics

    np.save(tmp_path / "table.npy", small_table)
    out, compare = tmp_path / "out", metrics.compare

    def compare_and_write(*arguments):
        out.write_text("mine")
        return compare(*arguments)

    monkeypatch.setattr(metrics, "compare", compare_and_write)
    line = fails("compress", tmp_path / "table.npy", out, "--ratio", 8, "--effort", "fast")
    assert "out exists" in line
    assert out.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"table.npy", "out"}
