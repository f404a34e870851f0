"""The layouts of a bundle's folder, and whose expectations each of them meets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from toolkit.bundle.manifest import MODEL_NAME, Manifest
from toolkit.errors import InputError

from ..sources.facts import CONFIG, TOKENIZER, TOKENIZER_CONFIG
from ..sources.source import LoadedModel


@dataclass(frozen=True)
class Layout:
    """Where a bundle's model and weights are.

    Attributes:
        model: the .onnx file, relative to the folder.
        data: name of its external data, beside it; empty where the model holds all.
        settings: what config.json says under ``transformers.js_config``.
        needs: files without which its readers could not open the bundle.
    """

    model: str
    data: str
    settings: Mapping[str, str | bool]
    needs: tuple[str, ...]

    @property
    def weights(self) -> str:
        """The external data, relative to the folder; nothing where there are none."""
        if not self.data:
            return ""
        return str(PurePosixPath(self.model).with_name(self.data))


FLAT = Layout(MODEL_NAME, f"{MODEL_NAME}.data", {}, ())
# transformers.js opens onnx/model.onnx and, if the config says that there are external data, the
# file of that name with "_data" behind it. A single file would do below protobuf's 2 GB, but
# weights in a file of their own are mapped into memory in node. Told of no type, transformers.js
# asks for model_quantized.onnx in browsers, which is not there.
TRANSFORMERS_JS = Layout(
    "onnx/model.onnx",
    "model.onnx_data",
    {"use_external_data_format": True, "dtype": "fp32"},
    (CONFIG, TOKENIZER, TOKENIZER_CONFIG),
)
# onnxruntime's own format, with the weights in it; a form of the flat layout, not one to ask for.
ORT = Layout("model.ort", "", {}, ())
LAYOUTS = {"flat": FLAT, "transformers-js": TRANSFORMERS_JS}


def layout_of(manifest: Manifest) -> Layout:
    """The layout that a bundle has."""
    return next(layout for layout in (*LAYOUTS.values(), ORT) if layout.model == manifest.model)


def check_layout(name: str, loaded: LoadedModel) -> Layout:
    """The layout ``name`` for this model.

    Raises:
        InputError: a file is not there that its readers need.
    """
    layout = LAYOUTS[name]
    missing = [need for need in layout.needs if need not in loaded.facts.assets]
    if missing:
        raise InputError(
            f"{loaded.folder} holds no {', '.join(missing)}, which layout {name} needs; save the "
            "model with its tokenizer there or choose layout flat"
        )
    return layout
