"""The words users say for execution providers, and onnxruntime's names for them."""

import onnxruntime

from toolkit.errors import InputError

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
}
CPU = PROVIDERS["cpu"]


def available() -> tuple[str, ...]:
    """Words for the providers that the installed onnxruntime was built with."""
    built_in = set(onnxruntime.get_available_providers())
    return tuple(word for word, name in PROVIDERS.items() if name in built_in)


def provider_names(word: str) -> list[str]:
    """onnxruntime's names in order of preference; the CPU always comes last, as fallback.

    Raises:
        InputError: an unknown word, or a provider that this onnxruntime lacks.
    """
    here = ", ".join(available())
    name = PROVIDERS.get(word.lower())
    if name is None:
        raise InputError(f"provider {word!r} is unknown; available here: {here}")
    if name not in onnxruntime.get_available_providers():
        raise InputError(
            f"provider {word!r} is not in this onnxruntime; available here: {here}, "
            "or install the onnxruntime package that has it"
        )
    return [name] if name == CPU else [name, CPU]


def short_name(provider: str) -> str:
    """``Xnnpack`` of onnxruntime's ``XnnpackExecutionProvider``."""
    return provider.removesuffix("ExecutionProvider") or provider
