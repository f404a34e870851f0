"""What the user gave (a hub id, a folder, an .onnx file) -> an ONNX graph and facts about it."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir
from google.protobuf.message import DecodeError

from toolkit.errors import InputError
from toolkit.files import sha256
from toolkit.manifest import Source

from . import backends
from .facts import Facts, read_facts

_HUB_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*/config.json"]
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class LoadedModel:
    """An uncompressed ONNX model on disk.

    Attributes:
        path: the .onnx file, with its external data beside it.
        folder: where the tokenizer and the config files are.
        facts: what they say.
        source: for the manifest.
        exporter: "dynamo", "optimum", or "none" for a file that was ONNX already.
    """

    path: Path
    folder: Path
    facts: Facts
    source: Source
    exporter: str


def load_source(
    source: str,
    work: Path,
    *,
    exporter: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    with_past: bool = False,
) -> LoadedModel:
    """Resolve ``source`` and export it to ONNX under ``work`` if it is not ONNX yet.

    With ``trust_remote_code`` the Python code that a model brings is run, without it such a model
    is refused. ``with_past`` asks for a decoder with a cache.

    Raises:
        InputError: nothing is there, an id that cannot be fetched, a file that is no ONNX, a
            model that no exporter takes; each says what to do.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return _from_onnx(path, with_past)
    if path.is_dir():
        found = Source(path.name, "folder", "")
    else:
        path = find_folder(source, revision, code=trust_remote_code)
        found = Source(source, "hub", "", revision)
    return _from_folder(path, found, work, exporter, trust_remote_code, with_past)


def find_folder(source: str, revision: str | None = None, *, code: bool = False) -> Path:
    """The folder of a model: as given, or downloaded from the hub, its Python files if ``code``.

    Raises:
        InputError: nothing is there, or the hub cannot be asked.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.suffix == ".onnx" or source.startswith((".", "/", "~")):
        raise InputError(f"{source} is not here; give a hub id, a model folder or an .onnx file")
    return _download(source, revision, code)


def _from_onnx(path: Path, with_past: bool) -> LoadedModel:
    if with_past:
        raise InputError(f"{path.name} is ONNX already, with a cache or without; drop --with-past")
    outputs = {value.name for value in load_graph(path).graph.outputs}
    folder = path.parent
    if not (folder / "config.json").is_file() and (folder.parent / "config.json").is_file():
        folder = folder.parent  # the hub's layout: onnx/model.onnx below the tokenizer
    facts = read_facts(folder, is_onnx=True)
    if facts.task == "text2text-generation" and "logits" not in outputs:
        facts = replace(facts, task="feature-extraction")  # the encoder in a file of its own
    return LoadedModel(path, folder, facts, Source(path.name, "onnx", sha256(path)), "none")


def load_graph(path: Path) -> ir.Model:
    """Read an .onnx file; weights stay on disk until used.

    Raises:
        InputError: no ONNX model, or its external data is missing.
    """
    if not path.is_file():
        raise InputError(f"{path} is not here; give an .onnx file")
    if path.suffix == ".ort":
        raise InputError(
            f"{path} is in onnxruntime's own format, which cannot be rewritten; give the .onnx "
            "file that it was made from"
        )
    try:
        model = ir.load(path, format="protobuf")  # whatever it is called
        if not len(model.graph):
            raise InputError(f"{path} is no ONNX model (it holds no graph); give an .onnx file")
        for value in model.graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                _check_external(value.const_value, path)
        if "ai.onnx" in model.opset_imports:  # the long name of the same domain
            model.opset_imports[""] = model.opset_imports.pop("ai.onnx")
        return model
    except InputError:
        raise
    except (DecodeError, ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise InputError(f"{path} is no ONNX model ({reason}); give an .onnx file") from error


def _check_external(tensor: ir.ExternalTensor, model: Path) -> None:
    file = Path(tensor.path)
    if not file.is_file():
        raise InputError(f"{file} is missing; it holds the weights of {model.name}")
    if file.stat().st_size < (tensor.offset or 0) + (tensor.length or tensor.nbytes):
        raise InputError(f"{file} is too short for the weights of {model.name}; copy it again")


def _from_folder(
    folder: Path, source: Source, work: Path, exporter: str, trust: bool, with_past: bool
) -> LoadedModel:
    weights = [path for pattern in _WEIGHTS for path in sorted(folder.glob(pattern))]
    if not weights:
        found = next(
            (p for p in (folder / "model.onnx", folder / "onnx/model.onnx") if p.is_file()), None
        )
        if found is not None:
            return _from_onnx(found, with_past)
        raise InputError(
            f"{folder} holds no model.safetensors, pytorch_model.bin or model.onnx; "
            "give the folder that `save_pretrained` wrote"
        )
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no config.json; give the folder save_pretrained wrote")
    facts = read_facts(folder)
    if facts.remote_code and not trust and not _is_known(facts):
        raise InputError(
            f"{source.name} needs Python code of its own (auto_map in its config.json); "
            "--trust-remote-code would run that repository's code here, so read it first"
        )
    path, used = backends.export_onnx(
        folder,
        facts,
        work / "original",
        exporter,
        trust_remote_code=trust,
        with_past=with_past,
    )
    digest = sha256(weights[0]) if len(weights) == 1 else _digest_of_digests(weights)
    return LoadedModel(path, folder, facts, replace(source, sha256=digest), used)


def _is_known(facts: Facts) -> bool:
    """Whether transformers has the model's code itself; many a repository still carries its own.

    Both names count: there are models of the type "bert" whose class is another one.
    """
    import transformers

    has_class = facts.architecture is None or hasattr(transformers, facts.architecture)
    return facts.model_type in transformers.CONFIG_MAPPING and has_class


def _digest_of_digests(paths: list[Path]) -> str:
    return hashlib.sha256("".join(sha256(path) for path in paths).encode()).hexdigest()


def _download(name: str, revision: str | None, code: bool) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def fetch(patterns: list[str]) -> Path:
        return Path(
            huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=patterns)
        )

    folder_hint = "or give a folder that holds the model"
    files = [*_HUB_FILES, "*.py"] if code else _HUB_FILES
    try:
        folder = fetch([*files, "*.safetensors"])
        return folder if any(folder.glob("*.safetensors")) else fetch([*files, _WEIGHTS[1]])
    except HFValidationError as error:
        raise InputError(
            f"{name!r} is neither a file, nor a folder, nor a hub id (owner/name)"
        ) from error
    except GatedRepoError as error:
        raise InputError(
            f"{name} is gated: accept its terms on its hub page and run `hf auth login`, "
            f"{folder_hint}"
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(f"{name} has no revision {revision!r}; check --revision") from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"the hub knows no model {name!r} (or it is private: `hf auth login`); check the id, "
            f"{folder_hint}"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise InputError(
            f"{name!r} is no local folder and the Hugging Face hub cannot be reached for it; check "
            f"the spelling and the network, {folder_hint}"
        ) from error
