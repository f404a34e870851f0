"""Short programs for a bundle's card; ``tests/integration/loads/`` runs each of them as it stands
there."""

import json
from pathlib import PurePosixPath

from toolkit.bundle.generation import GENAI_CONFIG, GENERATION_CONFIG
from toolkit.bundle.late_interaction import keeps_token_vectors
from toolkit.bundle.manifest import Manifest
from toolkit.markdown import code, javascript, python

from ..sources.facts import CONFIG, TOKENIZER
from ..sources.several import SPEECH, TEXT_TO_TEXT
from .structure import structure_of

# What a task takes at a time: texts, or pairs such as a question with its context.
_TEXTS: dict[str, tuple[str | tuple[str, ...], ...]] = {
    "feature-extraction": ("A cat sleeps.", "A kitten is napping."),
    "fill-mask": ("Paris is the capital of [MASK].",),
    "text-classification": ("What a lovely film.",),
    "token-classification": ("Ada Lovelace lived in London.",),
    "text-ranking": (("Who sleeps?", "A cat sleeps by the river."),),
    "text-generation": ("Once upon a time",),
    "question-answering": (("Who sleeps?", "A cat sleeps by the river."),),
}

_PASSAGES = (("Who sleeps?", ("A cat sleeps by the river.", "Stocks fell.")),)
_CHOICES = (("Ann is tired.", ("She goes to bed.", "She buys a ladder.")),)

_PIPELINE = """\
With [LightToken](https://pypi.org/project/lighttoken/), which checks the files first:

```python
from runtime import open_pipeline

pipeline = open_pipeline(".")
results = pipeline({texts})
```
"""

_LATE = """\
With [LightToken](https://pypi.org/project/lighttoken/), which checks the files first, and puts the
markers of queries and of documents in:

```python
from runtime import open_pipeline

pipeline = open_pipeline(".")
results = pipeline({queries})  # the passages of each query, best first
vectors = pipeline.encode_documents(["A cat sleeps by the river."])  # float32 [tokens, d] of each
```
"""

_SESSION = """\
With onnxruntime alone:

```python
import onnxruntime

session = onnxruntime.InferenceSession({model})
```
"""

_ONNXRUNTIME = """\
With onnxruntime alone:

```python
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

session = onnxruntime.InferenceSession({model})
tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.no_padding()
encoding = tokenizer.encode({text})
feeds = {{
    {ids}: np.array([encoding.ids]),
    "attention_mask": np.array([encoding.attention_mask]),
    "token_type_ids": np.array([encoding.type_ids]),
    "position_ids": np.arange(len(encoding.ids))[None],
}}
wanted = [entry.name for entry in session.get_inputs()]
outputs = session.run({outputs}, {{name: feeds[name] for name in wanted}})
```
"""

_OPTIMUM = """\
With [optimum](https://huggingface.co/docs/optimum-onnx) (`pip install optimum-onnx[onnxruntime]`):

```python
from optimum.onnxruntime import {kind}
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = {kind}.from_pretrained("."{options})
texts = {texts}
inputs = tokenizer(texts, {settings}return_tensors="pt")
outputs = {call}
```
"""

_GENAI = """\
With [onnxruntime-genai](https://onnxruntime.ai/docs/genai/) (`pip install onnxruntime-genai`):

```python
import onnxruntime_genai as og

model = og.Model(og.Config("."))
tokenizer = og.Tokenizer(model)
tokenizer.update_options(add_special_tokens="true")  # the token that texts begin with
params = og.GeneratorParams(model)
params.set_search_options(max_length=32, do_sample=False)
generator = og.Generator(model, params)
generator.append_tokens(tokenizer.encode({text}))
while not generator.is_done():
    generator.generate_next_token()
text = tokenizer.decode(generator.get_sequence(0))
```
"""

_TEXT_TO_TEXT = """\
With [optimum](https://huggingface.co/docs/optimum-onnx) (`pip install optimum-onnx[onnxruntime]`):

```python
from optimum.onnxruntime import ORTModelForSeq2SeqLM
from transformers import AutoTokenizer{settings}

tokenizer = AutoTokenizer.from_pretrained(".")
model = ORTModelForSeq2SeqLM.from_pretrained("."{place})
inputs = tokenizer({texts}, return_tensors="pt", return_token_type_ids=False)
ids = model.generate(**inputs, max_new_tokens=32)
results = tokenizer.batch_decode(ids, skip_special_tokens=True)
```
"""

_SPEECH = """\
With [optimum](https://huggingface.co/docs/optimum-onnx) (`pip install optimum-onnx[onnxruntime]`),
from samples at {rate:,} a second:

```python
import numpy as np
from optimum.onnxruntime import ORTModelForSpeechSeq2Seq
from transformers import AutoFeatureExtractor, AutoTokenizer{settings}

features = AutoFeatureExtractor.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")
model = ORTModelForSpeechSeq2Seq.from_pretrained("."{place})
sound = np.zeros({rate}, np.float32)  # a second of silence: your recording
inputs = features(sound, sampling_rate=features.sampling_rate, return_tensors="pt")
ids = model.generate(**inputs, max_new_tokens=8)
results = tokenizer.batch_decode(ids, skip_special_tokens=True)
```
"""
_RATE = 16_000  # of every speech model that optimum exports

_KINDS = {
    "feature-extraction": "ORTModelForFeatureExtraction",
    "fill-mask": "ORTModelForMaskedLM",
    "text-classification": "ORTModelForSequenceClassification",
    "text-ranking": "ORTModelForSequenceClassification",
    "token-classification": "ORTModelForTokenClassification",
    "text-generation": "ORTModelForCausalLM",
    "question-answering": "ORTModelForQuestionAnswering",
}

_SENTENCE_TRANSFORMERS = """\
With [sentence-transformers](https://sbert.net) (`pip install sentence-transformers[onnx]`):

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(".", backend="onnx")
vectors = model.encode({texts})
```
"""

_SPARSE_ENCODER = """\
With [sentence-transformers](https://sbert.net) (`pip install sentence-transformers[onnx]`):

```python
from sentence_transformers import SparseEncoder

model = SparseEncoder(".", backend="onnx")
vectors = model.encode({texts})
```
"""

# A local folder stands for the hub here; a bundle on the hub needs its id and neither setting.
_TRANSFORMERS_JS = """\
With [transformers.js](https://huggingface.co/docs/transformers.js), where this bundle is the folder
{place}:

```javascript
import {{ env, pipeline }} from "@huggingface/transformers";

env.localModelPath = "models";
env.allowRemoteModels = false;
const run = await pipeline({task}, {folder}, {{ dtype: {dtype} }});
const results = await run({texts}{settings});
```
"""

_JS_POOLING = ("mean", "cls")
# It feeds a text generator token by token, which takes a cache.
_JS_TASKS = ("feature-extraction", "fill-mask", "text-classification", "token-classification")


def snippets(manifest: Manifest, vector: str | None = None) -> list[str]:
    """Programs that fit the bundle's task, structure and files, each a paragraph of Markdown.

    ``vector``: the output that is one vector a text, of a model that pools by itself. Other tools
    look for token vectors, and may fill texts up in another way than it was trained.
    """
    own_inputs = manifest.batch is not None or manifest.model.endswith(".ort")
    if manifest.task == "multiple-choice" and TOKENIZER in manifest.files and not own_inputs:
        found = [_PIPELINE.format(texts=json.dumps(_CHOICES))]  # each program would need its own
        return [*found, _SESSION.format(model=python(manifest.model))]
    generates = manifest.task == "text-generation"
    if manifest.further and manifest.task in (SPEECH, TEXT_TO_TEXT):
        return _of_several_files(manifest)
    examples = _TEXTS.get(manifest.task)
    if examples is None or TOKENIZER not in manifest.files or own_inputs:
        return [_SESSION.format(model=python(manifest.model))]
    texts = json.dumps(examples)
    found = [] if generates else [_PIPELINE.format(texts=texts)]
    if weighs_terms(manifest):
        found = [_PIPELINE.format(texts=json.dumps(_TEXTS["feature-extraction"]))]
    if keeps_token_vectors(manifest.pooling):  # what others make of texts has no markers
        return [
            _LATE.format(queries=json.dumps(_PASSAGES)),
            _SESSION.format(model=python(manifest.model)),
        ]
    if vector is not None:
        return [*found, _SESSION.format(model=python(manifest.model))]
    if manifest.cached:  # whose empty shapes take more than a short program
        found.append(_SESSION.format(model=python(manifest.model)))
    else:
        outputs = '["sentence_embedding"]' if manifest.pooled else "None"
        first = (examples[0],) if isinstance(examples[0], str) else examples[0]
        text = ", ".join(map(json.dumps, first))
        names = {"model": python(manifest.model), "ids": python(manifest.ids_input)}
        found.append(_ONNXRUNTIME.format(**names, text=text, outputs=outputs))
    if CONFIG in manifest.files and manifest.ids_input == "input_ids":
        found.append(
            _OPTIMUM.format(
                kind=_KINDS[manifest.task],
                texts=texts,
                options=", use_cache=False" if generates and not manifest.cached else "",
                settings="" if generates else "padding=True, truncation=True, ",
                call="model.generate(**inputs, max_new_tokens=8)"
                if generates
                else "model(**inputs)",
            )
        )
        if weighs_terms(manifest):
            found.append(_SPARSE_ENCODER.format(texts=json.dumps(_TEXTS["feature-extraction"])))
        elif manifest.pooling is not None:
            found.append(_SENTENCE_TRANSFORMERS.format(texts=texts))
    if GENAI_CONFIG in manifest.files and isinstance(examples[0], str):
        found.append(_GENAI.format(text=json.dumps(examples[0])))
    if structure_of(manifest).settings and (manifest.task in _JS_TASKS or manifest.cached):
        found.append(_transformers_js(manifest, texts))
    return found


def weighs_terms(manifest: Manifest) -> bool:
    """Whether it is a masked language model that is used as a sparse encoder."""
    return manifest.pooling is not None and manifest.pooling.mode.startswith("splade")


def _of_several_files(manifest: Manifest) -> list[str]:
    """Of an encoder and a decoder, which optimum's classes open together."""
    above = str(PurePosixPath(manifest.model).parent)
    place = "" if above == "." else f", subfolder={python(above)}"
    settings = ""
    if place and GENERATION_CONFIG in manifest.files:  # optimum looks for it in the sub-folder
        place += ', generation_config=GenerationConfig.from_pretrained(".")'
        settings = ", GenerationConfig"
    speech = manifest.task == SPEECH
    texts = json.dumps(["speech.wav"] if speech else ["A cat sleeps by the river."])
    program = _SPEECH if speech else _TEXT_TO_TEXT
    return [
        _PIPELINE.format(texts=texts),
        program.format(texts=texts, place=place, settings=settings, rate=_RATE),
        _SESSION.format(model=python(manifest.model)),
    ]


def _transformers_js(manifest: Manifest, texts: str) -> str:
    pooling, settings = manifest.pooling, ""
    if pooling is not None and pooling.mode in _JS_POOLING:
        settings = f', {{ pooling: "{pooling.mode}", normalize: {str(pooling.normalize).lower()} }}'
    if manifest.cached:
        settings = ", { max_new_tokens: 8 }"
    folder = manifest.source.name.rsplit("/", 1)[-1]
    return _TRANSFORMERS_JS.format(
        place=code(f"models/{folder}"),
        folder=javascript(folder),
        task=javascript(manifest.task),
        dtype=javascript(str(structure_of(manifest).settings["dtype"])),
        texts=texts,
        settings=settings,
    )
