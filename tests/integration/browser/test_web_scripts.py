"""The pages' scripts that need no browser, run by node."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from runtime.profile.browser import modules
from runtime.tasks.pooling import MODES, pool
from runtime.tasks.sampling import Sampler as PythonSampler
from runtime.tasks.sampling import Sampling
from runtime.tasks.tokenize import open_tokenizer
from runtime.web.files import WEB
from toolkit.bundle.feeds import build_feeds
from toolkit.bundle.manifest import Pooling
from toolkit.bundle.tensors import TensorInfo

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="no node is here")

ORT = """
class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
const ort = { Tensor };
"""
INPUTS = (
    TensorInfo("input_ids", "int64", ("batch", "sequence")),
    TensorInfo("attention_mask", "int64", ("batch", "past_sequence_length + 1")),
    TensorInfo("token_type_ids", "int32", ("batch", "sequence")),
    TensorInfo("position_ids", "int64", ("batch", "sequence")),
    TensorInfo("past_key_values.0.key", "float32", ("batch", 2, "past_sequence_length", 4)),
    TensorInfo("fixed", "float32", (3, 2)),
)


def node(script, **data):
    """What ``script`` prints as JSON; it knows ``data``, and imports from WEB."""
    text = (
        f"{ORT}\nconst data = {json.dumps(data)};\nconst web = {json.dumps(WEB.as_uri() + '/')};\n"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-"],
        input=text + script,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("mode", [*MODES, "cls+max", "mean+lasttoken"])
def test_pooling_is_that_of_python(mode):
    states = np.random.default_rng(0).normal(size=(1, 5, 3)).astype(np.float32)
    script = """
        const { pool } = await import(web + "page/pipeline.mjs");
        console.log(JSON.stringify(pool(Float32Array.from(data.states), data.mask, data.mode)));
        """
    for mask in ([1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]):
        wanted = pool(states, np.array([mask]), Pooling(mode))[0]
        found = node(script, states=states.ravel().tolist(), mask=mask, mode=mode)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_feeds_are_those_of_python():
    ids = np.arange(10, 16).reshape(2, 3)
    wanted = build_feeds(INPUTS, "input_ids", ids)
    inputs = [{"name": i.name, "type": i.dtype, "shape": i.shape} for i in INPUTS]
    found = node(
        """
        const { buildFeeds, idsInput } = await import(web + "feeds.mjs");
        const feeds = buildFeeds(ort, data.inputs, idsInput(data.inputs, ""), data.ids);
        for (const one of Object.values(feeds)) one.data = Array.from(one.data, Number);
        console.log(JSON.stringify(feeds));
        """,
        inputs=inputs,
        ids=ids.tolist(),
    )
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name]["type"] == str(value.dtype)
        assert found[name]["dims"] == list(value.shape)
        assert found[name]["data"] == value.ravel().tolist()


def test_a_fixed_shape_is_named():
    line = node(
        """
        const { buildFeeds } = await import(web + "feeds.mjs");
        const inputs = [{ name: "ids", type: "int64", shape: [1, 16] }];
        try { buildFeeds(ort, inputs, "ids", [[1, 2, 3]]); }
        catch (error) { console.log(JSON.stringify(error.message)); }
        """
    )
    assert line == "input 'ids' takes exactly 16 tokens, asked for 3; use 16"


def test_ids_are_drawn_as_text_uses_them():
    draw = """
        const { IdSource } = await import(web + "feeds.mjs");
        const ids = (seed) => new IdSource({ rows: 1000, stream: [], seed }).next(40, 500).flat();
        console.log(JSON.stringify([ids(1), ids(1), ids(2)]));
        """
    one, again, other = (np.array(ids) for ids in node(draw))
    assert (one == again).all()
    assert (one != other).any()
    assert one.min() >= 1
    assert one.max() <= 999
    # 1 / k: as many below 32 as above, nearly.
    assert abs((one < 32).mean() - np.log(32) / np.log(1000)) < 0.02


def test_a_stream_goes_on_where_it_stopped():
    found = node(
        """
        const { IdSource } = await import(web + "feeds.mjs");
        const source = new IdSource({ rows: 0, stream: [5, 6, 7], seed: 0 });
        console.log(JSON.stringify([source.next(1, 2), source.next(2, 2)]));
        """
    )
    assert found == [[[5, 6]], [[7, 5], [6, 7]]]


def test_placements_are_read_from_the_log():
    lines = [
        "[V:onnxruntime:, session_state.cc:1 VerifyEachNodeIsAssignedToAnEp] Node(s) placed on "
        "[WebGpuExecutionProvider]. Number of nodes: 2",
        "[V:onnxruntime:, session_state.cc:2 VerifyEachNodeIsAssignedToAnEp]   Gather (node (1))",
        "[V:onnxruntime:, session_state.cc:2 VerifyEachNodeIsAssignedToAnEp]   MatMul ()",
        "[V:onnxruntime:, session_state.cc:1 VerifyEachNodeIsAssignedToAnEp] Node(s) placed on "
        "[CPUExecutionProvider]. Number of nodes: 1",
        "[V:onnxruntime:, session_state.cc:2 VerifyEachNodeIsAssignedToAnEp]   Shape (s)",
        "[V:onnxruntime:, other.cc:3 Elsewhere]   Add (a)",
    ]
    found = node(
        """
        const { placements } = await import(web + "measure/placements.mjs");
        console.log(JSON.stringify([placements(data.lines), placements(data.lines.slice(0, 1))]));
        """,
        lines=lines,
    )
    assert found[0] == {
        "assigned": [
            ["WebGpuExecutionProvider", [["Gather", "", "node (1)"], ["MatMul", "", ""]]],
            ["CPUExecutionProvider", [["Shape", "", "s"]]],
        ],
        "counts": {"WebGpuExecutionProvider": 2, "CPUExecutionProvider": 1},
    }
    assert found[1] == {"counts": {"WebGpuExecutionProvider": 2}}


def test_a_profile_is_the_median_of_all_calls_but_the_first():
    def event(name, took, provider="CPUExecutionProvider"):
        told = json.dumps({"op_name": "MatMul", "provider": provider})
        return f'{{"cat" : "Node","dur" :{took},"name" :"{name}","args" : {told}}},'

    lines = ["[", *(event("a_kernel_time", took) for took in (900, 5, 1, 4))]
    lines += [event("a_fence_before", 7), event("b_kernel_time", 3), '{"cat" : "Session"}', "]"]
    found = node(
        """
        const { profile } = await import(web + "measure/placements.mjs");
        console.log(JSON.stringify(profile(data.lines)));
        """,
        lines=lines,
    )
    cpu = "CPUExecutionProvider"
    assert found == {"profiled": [[cpu, "MatMul", "a", 4], [cpu, "MatMul", "b", 3]]}


def test_tokens_become_text_as_in_python(tmp_path):
    """Bytes in any order: characters that several tokens make, and what is no character at all."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, "ab", "Ġa", "<end>"]
    library = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(["<end>"])
    library.save(str(tmp_path / "tokenizer.json"))
    whole = "Żółw, naïve café, 東京 🙂 12 €".encode()
    of_byte = dict(zip(bytes_in_order(), range(256), strict=True))
    rng = np.random.default_rng(0)
    rows = [[of_byte[byte] for byte in whole], *rng.integers(0, len(words), (20, 60)).tolist()]
    found = node(
        """
        import { readFileSync } from "node:fs";
        globalThis.fetch = async (path) => ({ json: async () => JSON.parse(readFileSync(path)) });
        const { openTokenizer } = await import(web + "page/tokenize.mjs");
        const manifest = { files: { "tokenizer.json": {} } };
        const opened = await openTokenizer(data.folder, manifest, data.library);
        const pieces = (ids) => { const step = opened.stream(); return ids.map(step); };
        console.log(JSON.stringify(data.rows.map(pieces)));
        """,
        folder=f"{tmp_path}/",
        library=tokenizers_library(),
        rows=rows,
    )
    backend = open_tokenizer(tmp_path).backend
    for ids, pieces in zip(rows, found, strict=True):
        step = backend.stream()
        assert pieces == [step(id_) for id_ in ids]
    assert "".join(found[0]).encode() == whole


def bytes_in_order():
    """The byte that each letter of the sorted byte-level alphabet stands for."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [byte for byte in range(256) if byte not in plain]
    of_letter = {chr(byte): byte for byte in plain}
    of_letter |= {chr(256 + at): byte for at, byte in enumerate(moved)}
    return [of_letter[letter] for letter in letters]


def test_draws_have_the_probabilities_of_python():
    logits = np.array([1.0, 3.0, 2.0, -1.0, 2.0, 0.5], np.float32)
    cases = [(0.7, 0), (2.0, 3), (1.0, 1), (1.0, 2), (5.0, 6)]
    count = 4000
    found = node(
        """
        const { Sampler } = await import(web + "page/sampling.mjs");
        const logits = Float32Array.from(data.logits);
        const counts = data.cases.map(([temperature, topK]) => {
          const sampler = new Sampler({ temperature, topK, seed: 3 });
          const counts = Array(logits.length).fill(0);
          for (let i = 0; i < data.count; i++) counts[sampler.choose(logits)]++;
          return counts;
        });
        console.log(JSON.stringify(counts));
        """,
        logits=logits.tolist(),
        cases=cases,
        count=count,
    )
    for (temperature, top_k), counts in zip(cases, found, strict=True):
        sampler = PythonSampler(Sampling(temperature, top_k, seed=3))
        drawn = [sampler.choose(logits) for _ in range(count)]
        wanted = np.bincount(drawn, minlength=len(logits))
        assert (np.array(counts) > 0).sum() == (wanted > 0).sum()
        if top_k != 2:  # of two that are alike, either may be the second
            assert np.abs(np.array(counts) - wanted).max() < 0.04 * count


def tokenizers_library():
    """The address of the page's tokenizer library; skips where it is not here."""
    library = modules() / "node_modules/@huggingface/tokenizers/dist/tokenizers.min.mjs"
    if not library.is_file():
        pytest.skip("no tokenizer for node; run `lighttoken setup web`")
    return library.as_uri()


@pytest.mark.parametrize("most", [None, 8])
def test_tokens_are_those_of_python(minilm_folder, most):
    texts = ["A cat sleeps.", "", "Café naïve — 你好, 5 €!", "word " * 40, "a [MASK]  \n\t b"]
    names = [path.name for path in minilm_folder.iterdir()]
    found = node(
        """
        import { readFileSync } from "node:fs";
        globalThis.fetch = async (path) => ({ json: async () => JSON.parse(readFileSync(path)) });
        const { openTokenizer } = await import(web + "page/tokenize.mjs");
        const files = Object.fromEntries(data.names.map((name) => [name, {}]));
        const manifest = { files, max_length: data.most };
        const opened = await openTokenizer(data.folder, manifest, data.library);
        const rows = data.texts.map((text) => opened.encode(text));
        console.log(JSON.stringify([rows, opened.padId, opened.maskId]));
        """,
        folder=f"{minilm_folder}/",
        names=names,
        most=most,
        library=tokenizers_library(),
        texts=texts,
    )
    tokenizer = open_tokenizer(minilm_folder, most)
    rows = tokenizer.split(texts)
    assert [one["ids"] for one in found[0]] == [list(row.ids) for row in rows]
    assert [one["types"] for one in found[0]] == [list(row.types) for row in rows]
    assert found[1:] == [tokenizer.pad_id, tokenizer.mask_id]
