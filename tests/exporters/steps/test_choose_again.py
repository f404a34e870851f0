"""Codes of an encoder are chosen again by what its outputs feel, without being asked."""

import numpy as np
import pytest

from exporters import export
from exporters.options import ExportOptions
from toolkit import Budget
from toolkit.errors import InputError
from toolkit.graph.rows import packed_rows

BUDGET = Budget(ratio=8)


@pytest.fixture
def table(quick, tmp_path):
    """What an export of a source made of it: its manifest, and the rows."""

    def make(source, **changes):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        manifest = export(str(source), out, BUDGET, options=quick(**changes))
        return manifest, packed_rows(out / "model.onnx", manifest.rows)

    return make


def test_it_is_the_default_where_a_source_has_weights(encoder_folder, table):
    plain, before = table(encoder_folder)
    assert plain.healed is None
    chosen, after = table(encoder_folder, heal=None)
    healed = chosen.healed
    assert healed is not None
    assert (healed.own, healed.steps, healed.trained) == (True, 0, "table")
    assert healed.after < healed.before
    assert not np.array_equal(before, after)
    assert chosen.footprint.embedding_bytes == plain.footprint.embedding_bytes
    again, same = table(encoder_folder, heal=None)
    assert again.healed == healed
    np.testing.assert_array_equal(same, after)


def test_nothing_is_trained_where_nobody_asks(encoder_folder, table, monkeypatch):
    from toolkit.finetune import heal

    monkeypatch.setattr(heal, "distil", lambda *args, **more: pytest.fail("training"))
    assert table(encoder_folder, heal=None)[0].healed is not None


def test_sources_that_cannot_tell_are_exported_as_ever(
    encoder_folder, decoder_folder, exported, table, tmp_path
):
    assert table(exported.original, heal=None)[0].healed is None  # an .onnx file
    assert table(decoder_folder("LlamaForCausalLM", 64), heal=None)[0].healed is None  # its text
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):  # no tokens to draw
        (bare / name).write_bytes((encoder_folder / name).read_bytes())
    assert table(bare, heal=None)[0].healed is None


@pytest.mark.parametrize(
    "changes",
    [{"method": "svd"}, {"packed": "table.lt"}, {"all_tables": True}, {"decode": "stock"}],
)
def test_other_tables_have_no_codes_to_choose(changes):
    assert not ExportOptions(**changes).chooses_again
    assert ExportOptions().chooses_again


def test_none_is_no_text_file():
    options = ExportOptions(heal="none", all_tables=True)
    assert not options.heals
    assert options.heal_text is None
    with pytest.raises(InputError, match="packed and heal are for one table"):
        ExportOptions(heal="own", all_tables=True)
