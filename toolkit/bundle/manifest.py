"""The bundle's manifest, ``lighttoken.json``: what a bundle holds and what it costs.

It stands in ``toolkit`` because the exporter writes it and the runtime reads it, and neither of
the two may import the other.
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import FormatError, InputError
from ..files import sha256
from ..inside import leads_out
from ..json_files import JsonError, load_json, to_dataclass
from ..owned import entries, is_file_of

BUNDLE_VERSION = 5
_VERSION_OF_DIGEST = 4  # from this on a manifest holds the digest of what it says
_DIGEST = "digest"
_MOST = 1 << 62  # of anything that is counted
_SHOWN = 80  # letters of a name
_HEX = re.compile(r"[0-9a-f]{64}")
MANIFEST_NAME = "lighttoken.json"
MODEL_NAME = "model.onnx"


@dataclass(frozen=True)
class Source:
    """Where the model came from. ``sha256`` is that of its weights file."""

    name: str
    kind: str  # "hub", "folder" or "onnx"
    sha256: str
    revision: str | None = None


@dataclass(frozen=True)
class Pooling:
    """How the model makes one vector of a sentence.

    Attributes:
        mode: mean, cls, max, mean_sqrt_len, weightedmean or lasttoken; several joined by ``+``,
            whose vectors stand one after another. Of masked language models that weigh terms of
            the vocabulary splade-max or splade-sum, with ``-log1p`` for a second logarithm. Of
            models that compare texts token by token colbert.
        normalize: to unit length.
    """

    mode: str = "mean"
    normalize: bool = False

    @property
    def modes(self) -> tuple[str, ...]:
        """Each of them."""
        return tuple(self.mode.split("+"))


@dataclass(frozen=True)
class Footprint:
    """Bytes of tables and of the whole model.

    Attributes:
        ratio: ``dense_bytes`` over ``embedding_bytes``.
        embedding_bytes: of every tensor that the packed tables' layers read.
        dense_bytes: of the tables in float32.
        original_model_bytes: of the whole model as it was, its vocabulary uncut.
        graph_bytes: of what decodes them in the model's first file: functions, nodes, and records
            of their tensors, heads included; 0 in bundles of older versions, which did not count
            it.
    """

    ratio: float
    bits_per_parameter: float
    embedding_bytes: int
    dense_bytes: int
    model_bytes: int
    original_model_bytes: int
    by_part: dict[str, int]
    graph_bytes: int = 0

    @property
    def ratio_with_graph(self) -> float:
        """As ``ratio``, what decodes the tables counted too."""
        return self.dense_bytes / (self.embedding_bytes + self.graph_bytes)


@dataclass(frozen=True)
class Parity:
    """What the checks after the export found; all are largest absolute differences.

    Attributes:
        lookup: the graph's decoded rows against ``CompressedEmbedding.lookup``, every token id.
        rewrite: the model's outputs against the original with its table replaced by ``lookup``.
        compression: the model's outputs against the original: the compression error.
        kernel: the model's outputs with the native kernel against those by the functions in the
            file; None where no kernel was there to be measured. A look-up differs in its last
            bits. A packed output head rounds hidden states to 8 bits, which is more.
        whole: False where onnxruntime could not run the whole model as it was exported, for want of
            another provider. ``rewrite`` is then that of the rows again, and ``compression`` the
            rows against the original's.
    """

    lookup: float
    rewrite: float
    compression: float
    kernel: float | None = None
    whole: bool = True


TRAINED = ("table", "norms", "body")  # what healing can train, each with what is before it


@dataclass(frozen=True)
class Healed:
    """What healing on a text gained.

    Attributes:
        texts: that were read.
        before: mean distance of the model's outputs to the original's on texts held out of them:
            squared error of the hidden states over their power, plus what the head gives; of a
            decoder the Kullback-Leibler divergence of the next token, in nats.
        after: the same, healed.
        steps: of training.
        trained: the floats of the ``table`` alone, the model's ``norms`` too, or its whole
            ``body``.
        own: nobody gave the texts: a decoder wrote them, for other models tokens were drawn.
    """

    texts: int
    before: float
    after: float
    steps: int
    trained: str = "table"
    own: bool = False


@dataclass(frozen=True)
class StoredVocabulary:
    """A vocabulary that was cut: tokens that nobody wanted left the model and its tokenizer.

    Attributes:
        languages: that it was cut to; () where a text said what to keep.
        rows: of the whole table; those that stayed are the table's.
    """

    languages: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class StoredTable:
    """A table of the model that was packed.

    Attributes:
        name: in the original graph.
        bytes: packed.
        dense_bytes: in float32, which ratios count from.
        original_bytes: in the original file, which may have held it quantised.
        form: how it stood there: ``float``, or ``uint8, DequantizeLinear``.
    """

    name: str
    rows: int
    width: int
    bytes: int
    dense_bytes: int
    original_bytes: int
    form: str


@dataclass(frozen=True)
class StoredHead(StoredTable):
    """An output head of the model, a matrix of its own, that was packed.

    Attributes:
        by_part: bytes of each tensor that the head reads.
        parity: largest absolute difference between the file's logits and
            ``CompressedEmbedding.logits``, of random hidden states; None where the head is no node
            of its own and only the whole model was checked.
    """

    by_part: dict[str, int]
    parity: float | None = None


@dataclass(frozen=True)
class FurtherModel:
    """Another ``.onnx`` file of the same model, such as the encoder beside a decoder.

    Attributes:
        model: where it is in the bundle's folder, with forward slashes.
        tables: that were packed in it; () where it looks nothing up.
        heads: output heads with a matrix of their own that were packed in it.
        model_bytes: with its external data.
        original_model_bytes: the same of the original file.
        parity: what the checks found; of a file without tables the outputs against the original's
            as ``rewrite`` where its weights stayed float32, else as ``compression``.
    """

    model: str
    tables: tuple[StoredTable, ...]
    model_bytes: int
    original_model_bytes: int
    parity: Parity
    heads: tuple[StoredHead, ...] = ()


@dataclass(frozen=True)
class StoredFile:
    """A file of the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """All of ``lighttoken.json``.

    Attributes:
        task: feature-extraction, fill-mask, text-classification, text-generation, ..., in the
            Hugging Face hub's words.
        table: name that the compressed table had in the original graph, [rows, width].
        ids_input: the graph input that carries token ids.
        tied_head: the output head, or another reader, still holds the table in float32.
        packed_heads: output heads that read the packed table.
        heads: output heads with a matrix of their own that was packed too; () for none.
        target: where it is meant to run, a name of ``exporters.targets``.
        batch: texts that the graph takes, no other number; None for any.
        sequence: tokens of each.
        fused: attentions that are one node each, MultiHeadAttention of onnxruntime's; None where
            that was not asked for.
        healed: what healing the table on a text gained; None where it was not.
        body: form of the weights beside the tables: fp32, fp16, int8, int4, trellis4,
            trellis3, trellis2 or trellis.
        body_block: numbers of an int4 body that share a scale.
        max_length: tokens that the tokenizer cuts a text to; None for no limit.
        model: where the model is in the bundle's folder, with forward slashes.
        further: other files of the same model, each with what was packed in it; () for a model of
            one file. Figures of the whole model count them.
        vocabulary: what it was cut to; None where every token of the original is there.
        cached: the graph takes and gives keys and values of the tokens before.
        pooled: the graph has an output ``sentence_embedding`` too, made as ``pooling`` says.
        tables: every table that was packed, the largest first; () in bundles of older versions,
            which hold one.
        made_with: versions of the packages that made the bundle.
        files: every file but the manifest itself.
    """

    source: Source
    task: str
    exporter: str
    decode: str
    opset: int
    rows: int
    width: int
    table: str
    ids_input: str
    tied_head: bool
    method: str
    seed: int
    footprint: Footprint
    parity: Parity
    pooling: Pooling | None = None
    max_length: int | None = None
    packed_heads: int = 0
    target: str = "cpu"
    batch: int | None = None
    sequence: int | None = None
    fused: int | None = None
    healed: Healed | None = None
    body: str = "fp32"
    body_block: int | None = None
    model: str = MODEL_NAME
    cached: bool = False
    pooled: bool = False
    tables: tuple[StoredTable, ...] = ()
    heads: tuple[StoredHead, ...] = ()
    further: tuple[FurtherModel, ...] = ()
    vocabulary: StoredVocabulary | None = None
    made_with: dict[str, str] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)
    version: int = BUNDLE_VERSION

    def to_json(self) -> str:
        """The file's text; keys sorted, with the digest of all of it.

        Raises:
            InputError: a figure that is no number, which JSON has no word for.
        """
        data = dataclasses.asdict(self)
        name = next(_no_numbers(data), None)
        if name is not None:
            raise InputError(
                f"{name} of this bundle is no finite number, so nothing would be known of it; "
                "check what the model gives before it is compressed"
            )
        data[_DIGEST] = manifest_digest(data)
        return json.dumps(data, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _no_numbers(data: Any, name: str = "") -> Iterator[str]:
    """Names of the figures that are NaN or infinite."""
    if isinstance(data, float) and not math.isfinite(data):
        yield name
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _no_numbers(value, f"{name}.{key}".strip("."))
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _no_numbers(value, name)


def describe_files(folder: Path) -> dict[str, StoredFile]:
    """Size and digest of every file under ``folder`` except the manifest, by relative path."""
    return {
        path.relative_to(folder).as_posix(): StoredFile(path.stat().st_size, sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST_NAME
    }


def read_manifest(folder: Path) -> Manifest:
    """Read ``folder/lighttoken.json``.

    Raises:
        FormatError: no bundle, a manifest that is damaged or was altered, that says what cannot be,
            or one of a newer version.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise FormatError(
            f"{folder} is no bundle (no {MANIFEST_NAME}); make one with "
            "`lighttoken export SOURCE OUT`"
        )
    try:
        data = load_json(path, strict=True)
    except (JsonError, OSError) as error:
        raise _damaged(path, error) from error
    version = data.get("version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > BUNDLE_VERSION:
        raise FormatError(
            f"{folder} is a bundle of version {version}, this lighttoken reads up to "
            f"{BUNDLE_VERSION}; upgrade with `pip install -U lighttoken`"
        )
    try:
        if isinstance(data, dict):
            _check_digest(data)
        manifest = to_dataclass(Manifest, data, "manifest")
        _check_known(data, dataclasses.asdict(manifest))
        _check_values(manifest)
    except FormatError as error:
        raise _damaged(path, error) from error
    return manifest


def _damaged(path: Path, error: Exception) -> FormatError:
    return FormatError(f"{path} is damaged ({error}); export the bundle again")


def _check_known(data: Any, known: Any, where: str = "manifest") -> None:
    """Nothing is in ``data`` that a manifest of this version does not have."""
    if isinstance(data, dict):
        for name, value in data.items():
            if name not in known:
                raise FormatError(f"{where}.{name} is unknown")
            _check_known(value, known[name], f"{where}.{name}")
    elif isinstance(data, list):
        for at, value in enumerate(data):
            _check_known(value, known[at], f"{where}[{at}]")


def manifest_digest(data: dict[str, Any]) -> str:
    """sha256 of what a manifest says, ``data`` its JSON without the digest itself.

    It tells damage. Whoever changes a manifest on purpose can make it anew.
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_digest(data: dict[str, Any]) -> None:
    """Take the digest out of ``data`` and compare it; bundles of older versions have none."""
    version, told = data.get("version"), data.pop(_DIGEST, None)
    older = isinstance(version, int) and version < _VERSION_OF_DIGEST
    if told is None and older:
        return
    if told != manifest_digest(data):
        raise FormatError("it was altered: its digest is not that of what it says")


def _check_values(manifest: Manifest) -> None:
    """A manifest may come from anyone: what it says can be, and its files are the bundle's own."""
    parts = (*manifest.tables, *manifest.heads)
    parts += tuple(one for each in manifest.further for one in (*each.tables, *each.heads))
    sizes: dict[str, int | float | None] = {
        "rows": manifest.rows,
        "width": manifest.width,
        "max_length": manifest.max_length,
        "batch": manifest.batch,
        "sequence": manifest.sequence,
        "vocabulary.rows": None if manifest.vocabulary is None else manifest.vocabulary.rows,
        "footprint.ratio": manifest.footprint.ratio,
        "footprint.embedding_bytes": manifest.footprint.embedding_bytes,
        "footprint.model_bytes": manifest.footprint.model_bytes,
        **{f"rows of {part.name}": part.rows for part in parts},
        **{f"width of {part.name}": part.width for part in parts},
        **{f"bytes of {part.name}": part.bytes for part in parts},
    }
    for name, value in sizes.items():
        if value is not None and not 0 < value < _MOST:
            raise FormatError(f"manifest.{name} is {value}, which cannot be")
    for name, stored in manifest.files.items():
        if leads_out(name) or name == MANIFEST_NAME:
            raise FormatError(f"it lists the file {name[:_SHOWN]!r}, outside of the bundle")
        if stored.bytes < 0 or not _HEX.fullmatch(stored.sha256):
            raise FormatError(f"it has no size and sha256 of {name}")
    for model in (manifest.model, *(each.model for each in manifest.further)):
        if leads_out(model):
            raise FormatError(f"its model is {model[:_SHOWN]!r}, outside of the bundle")
        if model not in manifest.files:
            raise FormatError(f"its model is {model}, which is not among its files")


def bundle_entries(folder: Path) -> set[str]:
    """All that belongs to the bundle in ``folder``: files as its manifest describes them, and the
    sub-folders of these.

    A link does not: bundles are written without. Nor does a file that was changed, or whose name a
    manifest of somebody else has.

    Raises:
        InputError: no bundle, or a manifest that cannot be read.
    """
    every = dict(entries(folder))
    if MANIFEST_NAME not in every:
        raise InputError(
            f"{folder} is no bundle, so --force does not replace it (it holds "
            f"{next(iter(every))}); choose another name"
        )
    try:
        stored = read_manifest(folder).files
    except FormatError as error:
        reason = str(error).rpartition(";")[0]
        raise InputError(
            f"{reason}, so --force cannot tell which files are the bundle's; choose another name"
        ) from error
    files = {
        name
        for name, each in stored.items()
        if name in every and is_file_of(every[name], each.bytes, each.sha256)
    }
    if every[MANIFEST_NAME].is_file(follow_symlinks=False):
        files.add(MANIFEST_NAME)
    return files | {
        above.as_posix() for name in files for above in PurePosixPath(name).parents if above.name
    }


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Check that every file is there, whole and unaltered, and that a model reads no other.

    Raises:
        FormatError: the first file that is missing, of another size, or of another sha256; a model
            that is damaged, or keeps weights in a file that the manifest does not list.
    """
    from ..graph.files import model_files  # onnx is slow to import, and few need it

    for name, stored in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise FormatError(f"{path} is missing; copy the whole bundle again")
        size = path.stat().st_size
        if size != stored.bytes:
            raise FormatError(
                f"{path} has {size:,} bytes where the manifest says {stored.bytes:,}; "
                "copy the bundle again"
            )
        if sha256(path) != stored.sha256:
            raise FormatError(f"{path} was altered (its sha256 differs); copy the bundle again")
    for model in (manifest.model, *(each.model for each in manifest.further)):
        for path in model_files(folder / model):
            name = path.relative_to(folder).as_posix()
            if name not in manifest.files:
                raise FormatError(
                    f"{folder / model} keeps weights in {name}, which the manifest does not list; "
                    "export the bundle again"
                )
