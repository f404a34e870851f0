"""The structures that a bundle's folder may have, and which tools expect each of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from toolkit.bundle.manifest import MODEL_NAME, Manifest
from toolkit.errors import InputError

from ..sources.facts import CONFIG, TOKENIZER, TOKENIZER_CONFIG
from ..sources.source import LoadedModel


@dataclass(frozen=True)
class Structure:
    """Where a bundle's model and weights are.

    Attributes:
        model: the .onnx file, relative to the folder.
        data: name of its external data, beside it; empty where the model holds all.
        settings: what config.json says under ``transformers.js_config``.
        needs: files without which its readers could not open the bundle.
        suffix: of the name of every .onnx file, which says its precision.
    """

    model: str
    data: str
    settings: Mapping[str, str | bool]
    needs: tuple[str, ...]
    suffix: str = ""

    def named(self, stem: str) -> "Structure":
        """The same structure for a model file of another name, such as ``encoder_model``."""
        model, wanted = PurePosixPath(self.model), f"{stem}{self.suffix}"
        if model.stem == wanted:
            return self
        changed = self.data.replace(model.stem, wanted, 1)
        return replace(self, model=str(model.with_stem(wanted)), data=changed)

    @property
    def weights(self) -> str:
        """The external data, relative to the folder; nothing where there are none."""
        if not self.data:
            return ""
        return str(PurePosixPath(self.model).with_name(self.data))


FLAT = Structure(MODEL_NAME, f"{MODEL_NAME}.data", {}, ())
# transformers.js opens onnx/model.onnx and, if the config says that there are external data, the
# file of that name with "_data" behind it. A single file would do below protobuf's 2 GB, but
# weights in a file of their own are mapped into memory in node. Told of no type, transformers.js
# asks for model_quantized.onnx in browsers, which is not there.
TRANSFORMERS_JS = Structure(
    "onnx/model.onnx",
    "model.onnx_data",
    {"use_external_data_format": True, "dtype": "fp32"},
    (CONFIG, TOKENIZER, TOKENIZER_CONFIG),
)
# The same beside other precisions of one model: `dtype: "q1"` asks for the file of this name.
TRANSFORMERS_JS_Q1 = replace(
    TRANSFORMERS_JS, settings={**TRANSFORMERS_JS.settings, "dtype": "q1"}, suffix="_q1"
).named("model")
# onnxruntime's own format, with the weights in it; a form of the flat one, not one to ask for.
ORT = Structure("model.ort", "", {}, ())
STRUCTURES = {
    "flat": FLAT,
    "transformers-js": TRANSFORMERS_JS,
    "transformers-js-q1": TRANSFORMERS_JS_Q1,
}


def structure_of(manifest: Manifest) -> Structure:
    """The structure that a bundle has."""
    stem = PurePosixPath(manifest.model).stem
    # Names with a suffix first: to the others it would be part of a stem.
    ordered = sorted((*STRUCTURES.values(), ORT), key=lambda each: not each.suffix)
    known = (each.named(stem.removesuffix(each.suffix)) for each in ordered)
    return next(structure for structure in known if structure.model == manifest.model)


def check_structure(name: str, loaded: LoadedModel) -> Structure:
    """The structure ``name`` for this model.

    Raises:
        InputError: a file is not there that its readers need.
    """
    structure = STRUCTURES[name]
    missing = [need for need in structure.needs if need not in loaded.facts.assets]
    if missing:
        raise InputError(
            f"{loaded.folder} holds no {', '.join(missing)}, which structure {name} needs; save "
            "the model with its tokenizer there or choose --structure flat"
        )
    return structure
