"""The bundle's README.md: what it is, what was measured, how to run it."""

from toolkit.manifest import Manifest

_CARD = """\
---
library_name: onnxruntime
pipeline_tag: {task}
tags: [onnx, lighttoken, edge]
---
# {name}, token table {ratio:.1f} times smaller

The token-embedding table of **{name}** ({rows:,} x {width}) is held in {bits:.2f} bits a parameter
and stays packed on disk and in memory; rows are decoded inside the ONNX graph as they are looked
up. Made with [LightToken](https://pypi.org/project/lighttoken/), without labels and without text.

| | original | this bundle | |
|---|---:|---:|---:|
| token table | {dense} | {packed} | {ratio:.1f}x |
| whole model | {original} | {model} | {model_ratio:.2f}x |

Largest difference of any output, on random ids: {rewrite:.2g} against the same model with its table
replaced by the decoded one (the rewrite), {compression:.2g} against the original (the compression).
What that costs on your task: `lighttoken evaluate BUNDLE --pairs FILE`.
{tied}
## Run

{python}
Any onnxruntime runs `model.onnx` (with `model.onnx.data` beside it; give the path, not the bytes,
so that the weights are memory-mapped). Inputs are those of the original model.

```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
```

```javascript
import * as ort from "onnxruntime-web"; // or onnxruntime-node

const externalData = [{{ path: "model.onnx.data", data: "model.onnx.data" }}];
const session = await ort.InferenceSession.create("model.onnx", {{ externalData }});
```

```cpp
Ort::Env env;
Ort::Session session(env, ORT_TSTR("model.onnx"), Ort::SessionOptions{{}});
```

```kotlin
val session = OrtEnvironment.getEnvironment().createSession("$folder/model.onnx")
```

`lighttoken.json` holds every figure, the source's sha256 and the sha256 of each file.
"""

_PIPELINE = """\
```python
from runtime import open_pipeline

pipeline = open_pipeline(".")
print(pipeline({example}))
```

"""

_EXAMPLES = {
    "feature-extraction": '["A cat sleeps.", "A kitten is napping."]',
    "fill-mask": '["Paris is the capital of [MASK]."]',
    "text-classification": '["What a lovely film."]',
}

_TIED = """
The output head shares the table and keeps it in float32: only the look-up is packed.
"""

_PACKED_HEAD = """
The output head shares the table and reads the packed table too (`ai.lighttoken::CompressedHead`).
Without LightToken's native kernel its standard operators take longer than a dense product.
"""


def model_card(manifest: Manifest) -> str:
    """The card's text, from the manifest alone."""
    footprint, parity = manifest.footprint, manifest.parity
    example = _EXAMPLES.get(manifest.task)
    return _CARD.format(
        name=manifest.source.name,
        task=manifest.task,
        rows=manifest.rows,
        width=manifest.width,
        bits=footprint.bits_per_parameter,
        ratio=footprint.ratio,
        dense=_mega(footprint.dense_bytes),
        packed=_mega(footprint.embedding_bytes),
        original=_mega(footprint.original_model_bytes),
        model=_mega(footprint.model_bytes),
        model_ratio=footprint.original_model_bytes / footprint.model_bytes,
        rewrite=parity.rewrite,
        compression=parity.compression,
        tied=_PACKED_HEAD if manifest.packed_heads else _TIED if manifest.tied_head else "",
        python=_PIPELINE.format(example=example) if example else "",
    )


def _mega(count: int) -> str:
    return f"{count / 1e6:.2f} MB"
