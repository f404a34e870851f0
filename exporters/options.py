"""What a user may ask of an export."""

from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.bundle.manifest import TRAINED
from toolkit.errors import InputError
from toolkit.methods.config import LightTokenConfig, PaperConfig

from .bundle.structure import STRUCTURES
from .targets import find_target
from .weights.shrink import check_weights

DECODES = ("function", "inline")
FORMATS = ("onnx", "ort")
HEADS = ("packed", "nbits", "dense")
_STATIC = (1, 128)  # batch and sequence, where a target wants them fixed and nobody says to what


@dataclass(frozen=True)
class ExportOptions:
    """How to export.

    Attributes:
        exporter: auto, dynamo or optimum.
        target: where it is to run, see ``exporters.targets``; it decides what is None below.
        decode: "function" keeps the decode graph a function of the model, "inline" dissolves it.
        head: what an output head reads that shares the table: the "packed" one, "nbits", a copy in
            4 bits (MatMulNBits), or a "dense" one in float32. Packed, the recipe's codebooks are
            sums (``LightTokenConfig.additive``), which heads read several times faster.
        fuse: put each attention into one node, onnxruntime's MultiHeadAttention, see
            ``exporters.passes.fuse_attention``; not where ``decode`` is "inline", unless asked for.
        batch: texts that the graph takes, no other number; with ``sequence``.
        sequence: tokens of each text.
        format: "onnx", or "ort", onnxruntime's own, for minimal builds of it.
        weights: form of those beside the tables, see ``exporters.weights.shrink.shrink_weights``.
        group_size: numbers that share a scale, of int4 weights.
        table: name of the table to pack; by default the largest that token ids look up.
        all_tables: pack every table that ids look up and that is large enough, see
            ``find_large_tables``; each gets the budget's ratio, or its share of the bytes.
        method: of compression.
        seed: equal seeds give equal bytes.
        structure: of the bundle's folder: "flat", or what "transformers-js" looks for.
        with_pooling: let the graph give ``sentence_embedding`` too, pooled as the model's folder
            says.
        revision: branch, tag or commit of a hub id.
        trust_remote_code: run the Python code that a model brings.
        with_past: let a decoder take and give the keys and values of the tokens before.
        name: what the bundle calls its source; by default the hub id, folder or file name.
        corpus: a text file, one text a line, to count tokens in, and to round int4 weights by; the
            tokenizer's prior is used without.
        config: constants of the method; its own without.
        packed: a packed table to take in place of compressing, such as one that was trained on.
        heal: a text file, one text a line, to heal the packed table on, see
            ``toolkit.finetune.heal``.
        heal_steps: of its training, at most.
        heal_train: the ``table`` alone, the model's ``norms`` too, or its whole ``body``, see
            ``toolkit.finetune.heal.HealConfig``.
    """

    exporter: str = "auto"
    target: str = "cpu"
    decode: str | None = None
    head: str | None = None
    fuse: bool | None = None
    batch: int | None = None
    sequence: int | None = None
    format: str = "onnx"
    weights: str = "fp32"
    group_size: int = 128
    table: str | None = None
    all_tables: bool = False
    method: str = "lighttoken"
    seed: int = 0
    structure: str = "flat"
    with_pooling: bool = False
    revision: str | None = None
    trust_remote_code: bool = False
    with_past: bool = False
    name: str | None = None
    corpus: Path | None = None
    config: LightTokenConfig | PaperConfig | None = None
    packed: Path | None = None
    heal: Path | None = None
    heal_steps: int = 250
    heal_train: str = "table"

    def __post_init__(self) -> None:
        if self.decode not in (None, *DECODES):
            raise InputError(f"decode {self.decode!r} is unknown; choose from {', '.join(DECODES)}")
        if self.head not in (None, *HEADS):
            raise InputError(f"head {self.head!r} is unknown; choose from {', '.join(HEADS)}")
        if self.format not in FORMATS:
            raise InputError(f"format {self.format!r} is unknown; choose from {', '.join(FORMATS)}")
        if (self.batch is None) != (self.sequence is None):
            raise InputError("batch and sequence come together: both are fixed, or neither")
        if min(size for size in (self.batch, self.sequence, 1) if size is not None) < 1:
            raise InputError(f"batch {self.batch} x sequence {self.sequence} holds no token")
        check_weights(self.weights, self.group_size)
        target = find_target(self.target, self.weights)
        if self.fuse and not target.fusible:
            raise InputError(f"{self.target} does not know joined attention; leave fuse out")
        if self.table is not None and self.all_tables:
            raise InputError(f"give table ({self.table}) or all_tables, one of them")
        if self.all_tables and (self.packed is not None or self.heal is not None):
            raise InputError("packed and heal are for one table; leave all_tables out")
        if self.heal_steps < 0:
            raise InputError(f"heal_steps must be at least 0, got {self.heal_steps}")
        if self.heal_train not in TRAINED:
            raise InputError(
                f"heal_train {self.heal_train!r} is unknown; choose from {', '.join(TRAINED)}"
            )
        if self.structure not in STRUCTURES:
            raise InputError(
                f"structure {self.structure!r} is unknown; choose from {', '.join(STRUCTURES)}"
            )


def decided(options: ExportOptions) -> ExportOptions:
    """With what the target decides, where nothing else was asked for."""
    target = find_target(options.target, options.weights)
    decode, head = options.decode or target.decode, options.head or target.head
    # Who has the function dissolved wants standard operators alone.
    fuse = (target.fuse and decode == "function") if options.fuse is None else options.fuse
    sizes = (options.batch, options.sequence)
    if target.static and options.batch is None:
        sizes = _STATIC
    if target.most_texts is not None and (sizes[0] or 1) > target.most_texts:
        raise InputError(
            f"{options.target} computes a batch of {sizes[0]} wrongly; "
            f"use --batch {target.most_texts}"
        )
    if options.format == "ort" and options.structure != "flat":
        raise InputError(
            f"structure {options.structure} is for .onnx files; leave one of the two out"
        )
    batch, sequence = sizes
    return replace(options, decode=decode, head=head, fuse=fuse, batch=batch, sequence=sequence)
