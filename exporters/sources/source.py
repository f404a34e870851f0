"""What the user gave (a hub id, a folder, an .onnx file) -> an ONNX graph and facts about it."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle.generation import GENAI_CONFIG
from toolkit.bundle.manifest import Source
from toolkit.errors import InputError, LightTokenError
from toolkit.extras import require
from toolkit.files import sha256
from toolkit.graph.own_heads import find_own_heads, head_values
from toolkit.graph.plain import load_plain
from toolkit.graph.rows import table_values
from toolkit.graph.tables import find_token_table
from toolkit.inside import check_links, is_no_part
from toolkit.links import without_links
from toolkit.loaders import check_loading, check_tokenizer
from toolkit.quiet import reason
from toolkit.table.matrix import read_matrix
from toolkit.temporary import temporary_folder

from ..vocabulary.choose import Wanted
from ..vocabulary.cut import Cut, cut_folder
from . import to_onnx as backends
from .facts import CONFIG, TOKENIZER, WITH_HEADS, Facts, read_facts, read_json
from .few_bits import in_floats
from .folder_files import HUB_PATTERNS, WEIGHTS, tokenizer_files
from .genai import genai_facts, genai_model
from .graph_task import task_of, vector_of
from .late_interaction import in_the_graph, of_graph, read_projection
from .licence import CARD, LICENCE_FILES
from .several import IMAGE_TEXT, find_several, takes_rows
from .static import STATIC, StaticModel, read_static, write_static
from .whole import check_whole


@dataclass(frozen=True)
class SourceTable:
    """A model's table, and an output head where that is a matrix of its own.

    Attributes:
        values: [V, d].
        tokenizer: where the tokenizer would be.
        task: the model's, where it is known.
        head: [V, d]; None for none, or one that is the table.
    """

    values: NDArray[np.floating]
    tokenizer: Path
    task: str | None = None
    head: NDArray[np.floating] | None = None


def read_table(source: str, revision: str | None = None) -> SourceTable:
    """Read the table of a hub id, a folder, an .onnx file, or of a .npy or .safetensors matrix.

    Raises:
        InputError: no such source, or a model without a token table.
    """
    path = Path(source).expanduser()
    if path.suffix in (".npy", ".safetensors"):
        return SourceTable(read_matrix(path), path.parent / TOKENIZER)
    if path.suffix == ".onnx":
        with temporary_folder() as work:
            graph = load_plain(without_links(path, work)).graph
            values = np.array(table_values(find_token_table(graph)))  # no map of a file that goes
            heads = [np.array(head_values(own)) for own in find_own_heads(graph)]
        return SourceTable(values, path.parent / TOKENIZER, head=next(iter(heads), None))
    require("export")
    with temporary_folder() as work:
        folder = find_folder(source, revision)
        _check_folder(folder)
        static = read_static(folder)
        if static is not None:
            return SourceTable(static.vectors, static.tokenizer)
        found = _table_of(in_floats(folder, work / "floats"), source)
    return replace(found, tokenizer=folder / TOKENIZER)


def _table_of(folder: Path, source: str) -> SourceTable:
    """The table of a folder of transformers."""
    import transformers

    try:
        facts: Facts | None = read_facts(folder)
    except InputError:  # it has a table all the same
        facts = None
    try:
        own = facts is not None and (facts.task in WITH_HEADS or facts.vector is not None)
        if facts is not None and own and _is_known(facts):
            from .dynamo import load_model

            model = load_model(folder, facts)
        else:
            model, loading = transformers.AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,  # where nothing is said, transformers asks on stdin
                output_loading_info=True,
            )
            check_whole(folder, loading["missing_keys"], None)
        weight = model.get_input_embeddings().weight.detach().float().numpy()
        head = model.get_output_embeddings()
        matrix = None if head is None else head.weight.detach().float().numpy()
    except LightTokenError:
        raise
    except Exception as error:  # whatever transformers makes of a folder from anyone
        raise InputError(
            f"transformers cannot load {source} ({reason(error)}); repair that, or give an .onnx "
            "file"
        ) from error
    untied = matrix is not None and not np.array_equal(matrix, weight)
    task = None if facts is None else facts.task
    return SourceTable(weight, folder / TOKENIZER, task, matrix if untied else None)


ORIGINAL = "original"  # the folder of what is exported, below the one that is given
_HUB_FILES = [
    "*.json", "*.txt", "*.model", "*.jinja", "*/config.json", *HUB_PATTERNS, CARD, *LICENCE_FILES
]  # fmt: skip
_WEIGHT_FILES = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack")
_OTHER_FORMATS = {
    ".gguf": "a file of llama.cpp, rounded already",
    ".tflite": "a model of LiteRT",
    ".mlmodel": "a model of Core ML",
    ".engine": "an engine of TensorRT",
    ".pte": "a program of ExecuTorch",
}


@dataclass(frozen=True)
class LoadedModel:
    """An uncompressed ONNX model on disk.

    Attributes:
        path: the .onnx file, with its external data beside it.
        folder: where the tokenizer and the config files are.
        facts: what they say.
        source: for the manifest.
        exporter: "dynamo", "optimum", "genai", "static" for a graph that is written here, or "none"
            for a file that was ONNX already.
        genai_config: what tells onnxruntime-genai of this file; None where nothing does.
        further: other files of the same model, such as the encoder of a decoder.
        cut: what became of its vocabulary; None where that is whole.
    """

    path: Path
    folder: Path
    facts: Facts
    source: Source
    exporter: str
    genai_config: Path | None = None
    further: tuple[Path, ...] = ()
    cut: Cut | None = None


def load_source(
    source: str,
    work: Path,
    *,
    exporter: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    with_past: bool = False,
    wanted: Wanted | None = None,
) -> LoadedModel:
    """Resolve ``source`` and export it to ONNX under ``work`` if it is not ONNX yet.

    With ``trust_remote_code`` the Python code that a model brings is run, without it such a model
    is refused. ``with_past`` asks for a decoder with a cache, ``wanted`` for fewer tokens.

    Raises:
        InputError: nothing is there, an id that cannot be fetched, a file that is no ONNX, a
            model that no exporter takes; each says what to do.
    """
    path = Path(source).expanduser()
    if path.is_file():
        _check_kind(path)
        if wanted is not None:
            raise _not_cut(path)
        return _from_onnx(path, work, with_past)
    if path.is_dir():
        found = Source(path.name, "folder", "")
    else:
        path = find_folder(source, revision, code=trust_remote_code)
        found = Source(source, "hub", "", revision)
    _check_folder(path)
    return _from_folder(path, found, work, exporter, trust_remote_code, with_past, wanted)


def _check_folder(folder: Path) -> None:
    """Raise InputError where links of a folder, its index of shards or settings lead out of it."""
    check_links(folder)
    check_loading(folder)
    for index in sorted(folder.glob("*.index.json")):
        shards = read_json(index).get("weight_map")
        names = shards.values() if isinstance(shards, dict) else ()
        for name in names:
            if not isinstance(name, str) or is_no_part(name):
                raise InputError(
                    f"{index} names the file {name!r}, outside of its folder; download the model "
                    "again"
                )


def _check_kind(path: Path) -> None:
    """Raise InputError for files that people have of a model and that hold no graph."""
    if path.suffix in _WEIGHT_FILES:
        raise InputError(f"{path} holds weights alone; give the folder that it is in")
    if path.suffix in _OTHER_FORMATS:
        kind = _OTHER_FORMATS[path.suffix]
        raise InputError(f"{path} is {kind}; give the model folder or .onnx file it was made from")


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


def _from_onnx(path: Path, work: Path, with_past: bool) -> LoadedModel:
    if with_past:
        raise InputError(f"{path.name} is ONNX already, with a cache or without; drop --with-past")
    plain = without_links(path, work / "without_links")  # onnx reads no weights through links
    graph = load_plain(plain).graph
    outputs = {value.name for value in graph.outputs}
    folder = _settings_folder(path)
    check_tokenizer(folder)
    facts = read_facts(folder, is_onnx=True)
    task = task_of(graph, facts.task, has_mask=facts.has_mask, labels=facts.labels)
    facts = replace(facts, task=task, vector=vector_of(graph, facts.vector))
    if facts.weighs_terms and task != "fill-mask":
        facts = replace(facts, pooling=None)
    if facts.keeps_token_vectors:
        facts = of_graph(facts, graph, folder)
    genai = path.parent / GENAI_CONFIG
    check_links(folder, facts.assets)
    check_links(genai.parent, (genai.name,))
    if "logits" in outputs:
        facts = genai_facts(facts, genai.parent)
    source = Source(path.name, "onnx", sha256(path))
    return LoadedModel(plain, folder, facts, source, "none", genai if genai.is_file() else None)


def _settings_folder(path: Path) -> Path:
    """Where the settings of an .onnx file are: beside it, or as on the hub, above onnx/."""
    here, above = path.parent, path.parent.parent
    if (here / CONFIG).is_file() or (above / CONFIG).is_file():
        return here if (here / CONFIG).is_file() else above
    if here.name == "onnx" and not tokenizer_files(here) and tokenizer_files(above):
        return above
    return here


def _not_cut(path: Path) -> InputError:
    """For a vocabulary that was to be cut where there are no weights to cut."""
    return InputError(
        f"{path.name} holds no weights of transformers, which --languages and --vocabulary cut; "
        "give the folder that save_pretrained wrote"
    )


def _onnx_of(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """The .onnx file of a folder without weights, and what to say of the choice.

    Raises:
        InputError: there is none, or it is not clear which is meant.
    """
    usual = (folder / "model.onnx", folder / "onnx/model.onnx")
    found = genai_model(folder) or next((path for path in usual if path.is_file()), None)
    if found is not None:
        return found, ()
    others = sorted(path for path in (*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")))
    names = ", ".join(path.relative_to(folder).as_posix() for path in others)
    if len(others) == 1:
        return others[0], (f"{names} was taken, the only model in {folder.name}",)
    if others:
        raise InputError(f"{folder} holds several models ({names}); give one of these files")
    raise InputError(
        f"{folder} holds no model.safetensors, pytorch_model.bin or .onnx file; "
        "give the folder that `save_pretrained` wrote, or an .onnx file"
    )


def _from_folder(
    folder: Path,
    source: Source,
    work: Path,
    exporter: str,
    trust: bool,
    with_past: bool,
    wanted: Wanted | None,
) -> LoadedModel:
    static = read_static(folder)
    weights = [path for pattern in WEIGHTS for path in sorted(folder.glob(pattern))]
    if wanted is not None and (static is not None or not weights):
        raise _not_cut(folder)
    if static is not None:
        return _from_static(static, source, work / ORIGINAL)
    several = () if weights else find_several(folder)
    if several:
        loaded = _from_onnx(several[0], work, with_past)
        further = tuple(without_links(path, work / "without_links") for path in several[1:])
        facts = loaded.facts
        if takes_rows(several):
            facts = replace(facts, task=IMAGE_TEXT)
        source = replace(loaded.source, name=source.name)  # that of one file says less
        return replace(loaded, facts=facts, source=source, further=further)
    if not weights:
        found, note = _onnx_of(folder)
        loaded = _from_onnx(found, work, with_past)
        return replace(loaded, facts=replace(loaded.facts, notes=(*note, *loaded.facts.notes)))
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no config.json; give the folder save_pretrained wrote")
    require("export")
    facts = read_facts(folder)
    check_links(folder, facts.assets)
    if facts.remote_code and not trust and not _is_known(facts):
        raise InputError(
            f"{source.name} needs Python code of its own (auto_map in its config.json); "
            "--trust-remote-code would run that repository's code here, so read it first"
        )
    folder, cut = in_floats(folder, work / "floats"), None
    if wanted is not None:
        cut = cut_folder(folder, wanted, work / "cut")
        folder, facts = cut.folder, read_facts(cut.folder)
        facts = replace(facts, notes=(*facts.notes, cut.note))
    read_projection(folder, facts.projection)  # refuses before any exporter starts
    path, used = backends.export_onnx(
        folder,
        facts,
        work / ORIGINAL,
        exporter,
        trust_remote_code=trust,
        with_past=with_past,
    )
    digest = sha256(weights[0]) if len(weights) == 1 else _digest_of_digests(weights)
    genai = path.parent / GENAI_CONFIG if used == "genai" else None
    source = replace(source, sha256=digest)
    if used == "dynamo":
        facts = in_the_graph(facts)
    further = find_several(path.parent)[1:]
    return LoadedModel(path, folder, facts, source, used, genai, further, cut)


def _from_static(model: StaticModel, source: Source, out: Path) -> LoadedModel:
    path, folder, facts = write_static(model, out)
    source = replace(source, sha256=sha256(path.with_name(f"{path.name}.data")))
    return LoadedModel(path, folder, facts, source, STATIC)


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
        if any(folder.glob("*.safetensors")):
            return folder
        return fetch([*files, f"*_Dense/{WEIGHTS[1]}", WEIGHTS[1]])
    except HFValidationError as error:
        raise InputError(
            f"{name!r} is neither a file, nor a folder, nor a hub id (owner/name); check "
            "the spelling"
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
