"""A pass of Olive: the token-embedding table of a model packed, between Olive's other passes.

Olive looks passes up in a file. That of the Olive that is installed, with this one in it, is
written by ``python -m lighttoken.olive FILE``, for ``olive run --package-config FILE``.
"""

import json
import sys
from pathlib import Path
from typing import Any, get_type_hints

from olive.hardware.accelerator import AcceleratorSpec
from olive.model import HfModelHandler, ONNXModelHandler
from olive.package_config import OlivePackageConfig
from olive.passes import Pass
from olive.passes.pass_config import BasePassConfig, PassConfigParam

from exporters.options import ExportOptions, cli_options
from exporters.targets import TARGETS
from runtime.providers import PROVIDERS
from toolkit.errors import InputError
from toolkit.files import write_aside
from toolkit.json_text import json_text

_TARGETS = {name: word for word, name in PROVIDERS.items() if word in TARGETS}
_BUDGETS = {
    "ratio": (float, "Times smaller than in float32; by default 25, and 12 of decoders."),
    "max_bytes": (int, "Bytes of the packed table, at most."),
    "min_cosine": (float, "Mean cosine of a row to its decoded form, at least."),
}


class LightToken(Pass):  # type: ignore[misc]
    """Pack the table of an ONNX model, or export a model of Hugging Face with its table packed.

    Settings are the options of ``lighttoken export``, with ``_`` for ``-``. Without ``target`` the
    execution provider of Olive's accelerator decides. The output is a bundle: a folder with the
    model, its tokenizer, a card and a manifest.
    """

    @classmethod
    def _default_config(cls, accelerator_spec: AcceleratorSpec) -> dict[str, PassConfigParam]:
        types = get_type_hints(ExportOptions)
        known = ExportOptions()
        target = _TARGETS.get(str(accelerator_spec.execution_provider), known.target)
        found = {
            name: PassConfigParam(type_=kind, default_value=None, description=text)
            for name, (kind, text) in _BUDGETS.items()
        }
        for name, option in cli_options().items():
            default = target if name == "target" else getattr(known, name)
            found[name] = PassConfigParam(
                type_=types[name], default_value=default, description=option.help
            )
        return found

    def _run_for_config(
        self,
        model: HfModelHandler | ONNXModelHandler,
        config: BasePassConfig,
        output_model_path: str,
    ) -> ONNXModelHandler:
        from exporters import export
        from toolkit import Budget

        settings = config.model_dump()
        limits = {name: settings[name] for name in _BUDGETS if settings[name] is not None}
        options = {name: settings[name] for name in cli_options()}
        source = getattr(model, "model_name_or_path", None) or model.model_path
        manifest = export(
            str(source),
            output_model_path,
            Budget(**limits) if limits else None,
            options=ExportOptions(**options),
            force=True,
        )
        return ONNXModelHandler(model_path=output_model_path, onnx_file_name=manifest.model)


def package_config() -> dict[str, Any]:
    """Olive's own file of passes, as it is installed, with this pass in it."""
    with Path(OlivePackageConfig.get_default_config_path()).open(encoding="utf-8") as opened:
        known: dict[str, Any] = json.load(opened)
    ours = {
        "module_path": f"lighttoken.olive.{LightToken.__name__}",
        "supported_providers": ["*"],
        "supported_accelerators": ["*"],
        "supported_precisions": ["*"],
        "supported_algorithms": [],
        "supported_quantization_encodings": [],
    }
    return known | {"passes": known["passes"] | {LightToken.__name__: ours}}


def main(arguments: list[str]) -> int:
    """Write the file; returns the exit code."""
    if len(arguments) != 1:
        print("error: give one FILE to write, as `python -m lighttoken.olive F`", file=sys.stderr)
        return 2
    try:
        with write_aside(Path(arguments[0]), replace=False) as aside:
            aside.write_text(json_text(package_config()) + "\n", encoding="utf-8")
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
