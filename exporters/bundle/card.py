"""The bundle's README.md: what it is, what was measured, how to run it."""

from collections.abc import Sequence

from toolkit.bundle.late_interaction import TOKEN_VECTORS, keeps_token_vectors
from toolkit.bundle.manifest import Manifest, Parity, StoredHead, StoredVocabulary
from toolkit.markdown import code, javascript, kotlin, prose, sentence, yaml
from toolkit.trellis import MIXED, TRELLISES

from ..ops.float_types import CAST_LIKE_OPSET
from ..options import STOCK
from ..targets import TARGETS
from .snippets import snippets, weighs_terms
from .structure import structure_of

_CARD = """\
---
library_name: {library}
pipeline_tag: {task}
tags: [onnx, lighttoken, edge]
{origin}---
# {name}, token table {ratio:.1f} times smaller

The token-embedding table of **{name}** ({rows:,} x {width}) is held in {bits:.2f} bits a parameter
and stays packed on disk and in memory; rows are decoded inside the ONNX graph as they are looked
up. Made with [LightToken](https://pypi.org/project/lighttoken/), {made}.

| | original | this bundle | |
|---|---:|---:|---:|
{tables}
| whole model | {original} | {model} | {model_ratio:.2f}x |

{checked}
What that costs on your own text, without labels: `lighttoken evaluate BUNDLE --text FILE`.
{body}{tied}{notes}
## Run

{files} {inputs}{pooled}

{snippets}{genai}
```javascript
import * as ort from "onnxruntime-web";

{create}
```

```javascript
import * as ort from "onnxruntime-node"; // takes paths, and finds what belongs to the model itself

const session = await ort.InferenceSession.create({model_javascript});
```

```cpp
Ort::Env env;
Ort::Session session(env, ORT_TSTR({model_javascript}), Ort::SessionOptions{{}});
```

```kotlin
val session = OrtEnvironment.getEnvironment().createSession("$folder/{model_kotlin}")
```

{after}`lighttoken.json` holds every figure, the source's sha256 and the sha256 of each file.
"""

_CHECKED = """\
Largest difference of any output, on random ids: {rewrite:.2g} against the same model with its table
replaced by the decoded one (the rewrite), {compression:.2g} against the original (the
compression)."""

_ROWS_ALONE = """\
The whole model was not run where it was exported. Largest difference of any number of the table's
rows: {rewrite:.2g} against what the codes stand for, {compression:.2g} against the original's
rows."""

_AFTER = """\
Other tools take this file as it is: onnxruntime's `quantize_dynamic`, `quantize_static`,
transformer optimizer and converter to `.ort`, optimum, Olive, onnxsim, onnxslim. {half}
onnx's `version_converter` drops functions: put them back with
`converted.functions.extend(model.functions)`, or give it an export with `--decode inline`.

"""

_HALF = """\
So does
onnxruntime's converter to float16, whose file runs without LightToken's native kernel."""

_NO_HALF = """\
A converter to
float16 takes an export with `--decode inline`, as the opset of this file, {opset}, is below 15."""

_FILES = """\
Any onnxruntime runs {model}, with {weights} beside it; give the path, not
the bytes, so that the weights are memory-mapped."""

_CREATE = """\
const externalData = [{{ path: {data}, data: {weights} }}];
const session = await ort.InferenceSession.create({model}, {{ externalData }});"""

_ORT_FILES = """\
Any onnxruntime runs {model}, which holds the weights too; minimal builds need no more operators
than `model.required_operators.config` lists (`--include_ops_by_config`)."""

_ORT_CREATE = """\
const session = await ort.InferenceSession.create({model});"""

_TRELLIS = """
The other weights have {bits:.3g} bits in the file. The native kernel multiplies by these bits
(`TrellisProduct`). Without it onnxruntime makes int8 of them when it loads the model.
"""

_MIXED = """
The other weights have 2 to 8 bits in the file, each matrix as many as it needs. The native kernel
multiplies by these bits (`TrellisProduct`). Without it onnxruntime makes int8 of them when it loads
the model.
"""

_BODIES = {
    "fp16": """
The other weights, and what is computed, are in half precision.
""",
    "int8": """
The other weights are int8, their products of integers (`MatMulInteger`).
""",
    **dict.fromkeys(TRELLISES, _TRELLIS),
    MIXED: _MIXED,
    "int4": """
The other weights have 4 bits, {block} to a scale (`MatMulNBits`), rounded by what they do to the
model's outputs.
""",
}

_TIED = """
The output head shares the table and keeps it in float32: only the look-up is packed.
"""

_PACKED_HEAD = """
The output head shares the table and reads the packed table too (`ai.lighttoken::CompressedHead`).
Without LightToken's native kernel its standard operators take longer than a dense product.
"""

_STOCK = """
The table holds {method}. The graph reads it with onnxruntime's own
operators: `GatherBlockQuantized`{heads}. None of LightToken's are needed.
An id outside the table gets a row of zeros on the CPU.
"""

_OWN_HEAD = """
The output head is a matrix of its own. It is packed beside the table, in {bits:.2f} bits a
parameter (`ai.lighttoken::CompressedHead`). Without LightToken's native kernel its standard
operators take longer than a dense product.
"""


_HEALED = {
    "table": "the table",
    "norms": "the table and the model's LayerNorms and biases",
    "body": "the whole model",
}

_NO_GENAI = """
onnxruntime-genai cannot write with this bundle, so it holds no genai_config.json: {reason}.
"""

_POOLED = """ The output
`sentence_embedding` is one vector a text, pooled and normalised as the model does it."""


_VECTOR = """ The output
{vector} is one vector a text."""


_TOKEN_VECTORS = """ The output
{output} is one vector a token, projected and of unit length. Queries and documents are
compared by MaxSim; each has its marker behind the first token."""


def model_card(
    manifest: Manifest,
    *,
    genai: str | None = None,
    notes: Sequence[str] = (),
    vector: str | None = None,
    licence: str | None = None,
) -> str:
    """The card's text.

    ``genai``: why onnxruntime-genai cannot write with the bundle; "" where it can, None of models
    that it is not for. ``notes``: what was left out, a line each.
    ``vector``: the output that is one vector a text, of a model that pools by itself.
    ``licence``: the hub's word for that of the original.
    """
    footprint, parity = manifest.footprint, manifest.parity
    structure = structure_of(manifest)
    names = {"model": structure.model, "weights": structure.weights, "data": structure.data}
    in_prose = {key: code(name) for key, name in names.items()}
    in_programs = {key: javascript(name) for key, name in names.items()}
    return _CARD.format(
        name=prose(manifest.source.name),
        library="transformers.js" if structure.settings else "onnxruntime",
        # The hub's word for sparse encoders; their graph fills masks.
        task=yaml("feature-extraction" if weighs_terms(manifest) else manifest.task),
        origin=_origin(manifest, licence),
        rows=manifest.rows,
        width=manifest.width,
        bits=footprint.bits_per_parameter,
        ratio=footprint.ratio,
        original=_mega(footprint.original_model_bytes),
        model=_mega(footprint.model_bytes),
        model_ratio=footprint.original_model_bytes / footprint.model_bytes,
        made=_made(manifest),
        checked=(_CHECKED if parity.whole else _ROWS_ALONE).format(
            rewrite=parity.rewrite, compression=parity.compression
        )
        + _kernel(parity),
        tables=_tables(manifest),
        body=_BODIES.get(manifest.body, "").format(
            block=manifest.body_block, bits=_body_bits(manifest)
        ),
        tied=_heads(manifest),
        after=_after(manifest) if structure.data else "",
        notes="".join(f"\nNote: {sentence(note)}.\n" for note in notes),
        model_javascript=javascript(structure.model),
        model_kotlin=kotlin(structure.model),
        files=(_FILES if structure.data else _ORT_FILES).format(**in_prose),
        create=(_CREATE if structure.data else _ORT_CREATE).format(**in_programs),
        inputs=_inputs(manifest),
        pooled=_vectors(manifest, vector),
        snippets="\n".join(snippets(manifest, vector)),
        genai=_NO_GENAI.format(reason=sentence(genai)) if genai else "",
    )


def _origin(manifest: Manifest, licence: str | None) -> str:
    """What the hub reads of where a model comes from; the licence of the original goes on."""
    lines = [f"license: {yaml(licence)}"] if licence else []
    if manifest.source.kind == "hub":
        lines += [f"base_model: {yaml(manifest.source.name)}", "base_model_relation: quantized"]
    return "".join(f"{line}\n" for line in lines)


def _body_bits(manifest: Manifest) -> float:
    """Of a weight that a trellis stores; 0 of all others."""
    return 8 / len(TRELLISES[manifest.body]) if manifest.body in TRELLISES else 0.0


def _vectors(manifest: Manifest, vector: str | None) -> str:
    """Which output is a text's vector, or has one for each token."""
    if manifest.pooled:
        return _POOLED
    if keeps_token_vectors(manifest.pooling) and manifest.exporter == "dynamo":
        return _TOKEN_VECTORS.format(output=code(TOKEN_VECTORS))
    return _VECTOR.format(vector=code(vector)) if vector else ""


def _made(manifest: Manifest) -> str:
    """From what: nothing but the model, text, or a table that was packed before."""
    healed, words = manifest.healed, ""
    if manifest.vocabulary is not None:
        words = f", {_vocabulary(manifest.vocabulary)}"
    if healed is not None:
        return (
            f"without labels{words}. On {healed.texts:,} {_texts(manifest)} "
            f"{_HEALED[healed.trained]} came nearer to the original:\non texts held out, "
            f"{_distance(manifest)} fell from {healed.before:.3g} to {healed.after:.3g}"
        )
    if manifest.method == "given":
        return f"from a table that was packed before{words}"
    return f"without labels{words}" if words else "without labels and without text"


def _texts(manifest: Manifest) -> str:
    """What a table was healed on."""
    assert manifest.healed is not None
    if not manifest.healed.own:
        return "plain texts"
    writes = manifest.task == "text-generation"
    return "texts that it wrote itself" if writes else "texts of drawn tokens"


def _vocabulary(vocabulary: StoredVocabulary) -> str:
    """What the tokens of a cut vocabulary are for."""
    kept = f"for {', '.join(vocabulary.languages)}" if vocabulary.languages else "for a text"
    return f"{kept}: of {vocabulary.rows:,} tokens the others have left the model and its tokenizer"


def _after(manifest: Manifest) -> str:
    """What other tools make of the file; an inlined graph is like any other."""
    if manifest.decode != "function":
        return ""
    half = _HALF if manifest.opset >= CAST_LIKE_OPSET else _NO_HALF.format(opset=manifest.opset)
    return _AFTER.format(half=half)


def _distance(manifest: Manifest) -> str:
    """What healing measured."""
    if manifest.task == "text-generation":
        return "the divergence from what it expects next (Kullback-Leibler, in nats)"
    return "the distance to its outputs"


def _inputs(manifest: Manifest) -> str:
    if manifest.batch is None:
        return "Inputs are those of the original model."
    kind = ", int32" if TARGETS[manifest.target].int32 else ""
    return (
        f"Inputs are those of the original model{kind}, [{manifest.batch}, {manifest.sequence}] "
        "and no other size: fill a text up with the padding token, of mask 0."
    )


def _heads(manifest: Manifest) -> str:
    """What became of output heads."""
    if manifest.decode == STOCK:
        heads = ", and `MatMulNBits` for the\noutput head that shares it" * bool(
            manifest.packed_heads
        )
        stock = _STOCK.format(method=manifest.method.removeprefix(f"{STOCK} "), heads=heads)
        return stock + (_TIED if manifest.tied_head else "")
    shared = _PACKED_HEAD if manifest.packed_heads else _TIED if manifest.tied_head else ""
    if not manifest.heads:
        return shared
    numbers = sum(head.rows * head.width for head in manifest.heads)
    held = sum(head.bytes for head in manifest.heads)
    return shared + _OWN_HEAD.format(bits=8 * held / numbers)


def _tables(manifest: Manifest) -> str:
    """A line of the figures for each table and head; the original's bytes where it held it
    quantised."""
    lines = []
    for table in (*manifest.tables, *manifest.heads):
        if isinstance(table, StoredHead):
            name = f"output head {prose(table.name)}" if len(manifest.heads) > 1 else "output head"
        else:
            name = f"table {prose(table.name)}" if len(manifest.tables) > 1 else "token table"
        before = _mega(table.dense_bytes)
        if table.original_bytes < table.dense_bytes:
            before += f" as float32, {_mega(table.original_bytes)} as {prose(table.form)}"
        ratio = f"{table.dense_bytes / table.bytes:.1f}x"
        lines.append(f"| {name} | {before} | {_mega(table.bytes)} | {ratio} |")
    for further in manifest.further:
        for table in (*further.tables, *further.heads):
            kind = "output head" if isinstance(table, StoredHead) else "table"
            ratio = f"{table.dense_bytes / table.bytes:.1f}x"
            before, after = _mega(table.dense_bytes), _mega(table.bytes)
            lines.append(f"| {kind} in {code(further.model)} | {before} | {after} | {ratio} |")
    footprint = manifest.footprint
    if footprint.graph_bytes:
        lines.append(
            f"| what decodes it, in the graph | | {_mega(footprint.graph_bytes)} | "
            f"{footprint.ratio_with_graph:.1f}x with it |"
        )
    return "\n".join(lines)


def _kernel(parity: Parity) -> str:
    if parity.kernel is None:
        return ""
    return f"\nWith LightToken's native kernel outputs differ by another {parity.kernel:.2g}."


def _mega(count: int) -> str:
    return f"{count / 1e6:.2f} MB"
