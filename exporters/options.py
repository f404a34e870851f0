"""What a user may ask of an export.

The command line makes its options of :class:`ExportOptions`: a new field is an option with no line
anywhere else. Nothing heavy is imported here, because ``lighttoken export --help`` reads it.
"""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from toolkit import limits
from toolkit.allocate.budget import Budget
from toolkit.bundle.manifest import TRAINED
from toolkit.errors import InputError
from toolkit.limits import Whole
from toolkit.methods.compress import METHODS
from toolkit.methods.config import LightTokenConfig, PaperConfig
from toolkit.table.grouped import BITS, GROUP_SIZES
from toolkit.trellis import CODED, MIXED, TRELLISES

from .targets import TARGETS, find_target

EXPORTERS = ("auto", "dynamo", "optimum", "genai")
STOCK = "stock"  # the decode that is no code of ours: integers that other runtimes read too
DECODES = ("function", "inline", STOCK)
FORMATS = ("onnx", "ort")
HEADS = ("packed", "nbits", "dense")
FEW_BITS = ("int8", "int4", *CODED)
WEIGHTS = ("fp32", "fp16", *FEW_BITS)
DECODER_GROUP, GROUP = 32, 128  # by default
STRUCTURES = ("flat", "transformers-js", "transformers-js-q1")
SPECIAL = "special"  # what exact_rows calls the tokenizer's special tokens
OWN_TEXT = "own"  # what heal calls text that a decoder writes itself
UNHEALED = "none"  # and a table that stays as it was compressed
_STATIC = (1, 128)  # batch and sequence, where a target wants them fixed and nobody says to what
_CLI = "cli"  # key of a field's metadata


@dataclass(frozen=True)
class CliOption:
    """How the command line asks for a field; the option is called as the field is.

    Attributes:
        help: what the field does, for people.
        choices: all values that are shown; () for any.
        hidden: values that are taken too, and not shown.
        aliases: names that are taken too, and not shown, such as ``--body``.
        metavar: what stands for the value; None for the name of its type.
        negation: name of the option that says no, where None says neither yes nor no.
        whole: where whole numbers lie.
    """

    help: str
    choices: tuple[str | int, ...] = ()
    hidden: tuple[str | int, ...] = ()
    aliases: tuple[str, ...] = ()
    metavar: str | None = None
    negation: str | None = None
    whole: Whole | None = None


def _cli(help: str, **settings: Any) -> dict[str, CliOption]:
    """Metadata of a field that is an option."""
    return {_CLI: CliOption(help, **settings)}


@dataclass(frozen=True)
class ExportOptions:
    """How to export.

    What each field does is said by its ``help``, which ``lighttoken export --help`` prints and
    docs/cli.md lists. Where None is a default, the ``target`` decides, see :func:`decided`, or
    nothing is done. Two fields are no options of the command:

    Attributes:
        name: what the bundle calls its source; by default the hub id, folder or file name.
        config: constants of the method; None for its own.

    Raises:
        InputError: an unknown value, or two options that exclude each other.
    """

    exporter: str = field(
        default="auto",
        metadata=_cli(
            "How a model that is not ONNX yet becomes it; genai is onnxruntime-genai's builder, "
            "for decoders with a cache.",
            choices=EXPORTERS,
        ),
    )
    target: str = field(
        default="cpu",
        metadata=_cli(f"Where the bundle is to run: {', '.join(TARGETS)}.", metavar="NAME"),
    )
    decode: str | None = field(
        default=None,
        metadata=_cli(
            "Decode graph as a function of the model, or inlined into it; or stock: integers with "
            "scales, in onnxruntime's own operators, for runtimes that take nothing else [default: "
            "the target's].",
            choices=DECODES,
        ),
    )
    table_bits: int | None = field(
        default=None,
        metadata=_cli(
            "Bits of a table's number with --decode stock [default: the most that --ratio or "
            "--max-bytes leave, 4 without them].",
            choices=BITS,
        ),
    )
    table_group_size: int | None = field(
        default=None,
        metadata=_cli(
            "Numbers of a table's row that share a scale, with --decode stock [default: the fewest "
            "that --ratio or --max-bytes leave, 32 without them].",
            choices=GROUP_SIZES,
        ),
    )
    head: str | None = field(
        default=None,
        metadata=_cli(
            "What an output head reads that shares the table: the packed table, a copy in 4 bits "
            "(nbits), or a copy in float32 (dense) [default: packed on the CPU, and of decoders "
            "with a cache in WASM, elsewhere nbits]. With packed, a head that is a matrix of its "
            "own is packed too.",
            choices=HEADS,
        ),
    )
    head_ratio: float | None = field(
        default=None,
        metadata=_cli(
            "How many times smaller a head of its own has to be than in float32 [default: 12 for "
            "decoders, 25 for all others]."
        ),
    )
    head_bytes: int | None = field(
        default=None,
        metadata=_cli("Bytes of a packed head of its own, at most.", whole=limits.BYTES),
    )
    fuse: bool | None = field(
        default=None,
        metadata=_cli(
            "Join nodes: each attention becomes one of onnxruntime's, and so do its rotations and "
            "products of one input; less memory, faster [default: --fuse on the CPU, unless "
            "inline].",
            negation="--no-fuse",
        ),
    )
    table: str | None = field(
        default=None,
        metadata=_cli("Name of the table to pack [default: the largest that ids look up]."),
    )
    all_tables: bool = field(
        default=False,
        metadata=_cli(
            "Pack every table that ids look up, if it has at least 256 rows and a hundredth of the "
            "largest table's size; each gets --ratio, or its share of --max-bytes."
        ),
    )
    weights: str = field(
        default="fp32",
        metadata=_cli(
            "Form of the weights beside the table; trellis4, trellis3 and trellis2 have 4, 2.67 "
            "and 2 bits in the file, trellis what each product needs with --max-model-bytes. They "
            "stay so in memory with the native kernel, and become int8 without it.",
            choices=WEIGHTS,
            aliases=("--body",),
        ),
    )
    group_size: int | None = field(
        default=None,
        metadata=_cli(
            "Numbers that share a scale in int4 weights: smaller groups are more exact, and take "
            "more bytes [default: 32 in decoders, 128 else].",
            choices=GROUP_SIZES,
            aliases=("--body-block",),
        ),
    )
    max_model_bytes: int | None = field(
        default=None,
        metadata=_cli(
            "Bytes of the whole model, graph and weights, at most: shared out between the table "
            "and the other weights so that the outputs stay nearest. With --weights, that form is "
            "kept.",
            whole=limits.BYTES,
        ),
    )
    structure: str = field(
        default="flat",
        metadata=_cli(
            "Folder structure of the bundle; transformers-js has onnx/model.onnx, as that library "
            "wants it, transformers-js-q1 onnx/model_q1.onnx, which its dtype q1 asks for.",
            choices=STRUCTURES,
            aliases=("--layout",),
        ),
    )
    with_pooling: bool = field(
        default=False,
        metadata=_cli("Pool and normalise in the graph too, as output sentence_embedding."),
    )
    with_past: bool = field(
        default=False,
        metadata=_cli(
            "A decoder with a cache: it takes and gives keys and values of the tokens before."
        ),
    )
    batch: int | None = field(
        default=None, metadata=_cli("Fix the number of texts; with --sequence.", whole=limits.BATCH)
    )
    sequence: int | None = field(
        default=None, metadata=_cli("Fix the number of tokens; with --batch.", whole=limits.LENGTH)
    )
    format: str = field(
        default="onnx",
        metadata=_cli(
            "ort is onnxruntime's own format, with a list of the operators that a minimal build "
            "needs.",
            choices=FORMATS,
        ),
    )
    method: str = field(
        default=METHODS[0], metadata=_cli("Method of compression.", choices=METHODS)
    )
    seed: int = field(
        default=0,
        metadata=_cli(
            "Equal seeds give equal bytes, on one machine with as many threads; not so the model's "
            "file of --format ort.",
            whole=limits.SEED,
        ),
    )
    revision: str | None = field(default=None, metadata=_cli("Branch, tag or commit of a hub id."))
    trust_remote_code: bool = field(
        default=False,
        metadata=_cli("Run the Python code that the model's repository brings; read it first."),
    )
    corpus: Path | None = field(
        default=None,
        metadata=_cli(
            "Text file, one text a line, to count tokens in and to round int4 weights by [default: "
            "the order of the tokenizer]; of a speech model a folder of recordings."
        ),
    )
    languages: str | None = field(
        default=None,
        metadata=_cli(
            "Languages to keep, such as de,en, or all that have a list: tokens that these do not "
            "use leave the model and its tokenizer. Needs wordfreq, whose lists of words say what "
            "a language uses.",
            metavar="CODES",
        ),
    )
    vocabulary: Path | None = field(
        default=None,
        metadata=_cli("Text file whose tokens are kept, in place of --languages or beside them."),
    )
    exact_rows: str | None = field(
        default=None,
        metadata=_cli(
            "Ids whose rows stay as they are where they are looked up, such as 0,2,100-110, or "
            "special for the tokenizer's special tokens; their bytes count.",
            metavar="IDS",
        ),
    )
    packed: Path | None = field(
        default=None,
        metadata=_cli(
            "Packed table to use in place of compressing, as `compress` or training wrote it."
        ),
    )
    sample_inputs: Path | None = field(
        default=None,
        metadata=_cli(
            "One call's real inputs, an .npz or .json file by the names of the graph's inputs, for "
            "the checks of a model that made-up inputs do not suit."
        ),
    )
    heal: Path | None = field(
        default=None,
        metadata=_cli(
            "Text file, one text a line, to fit the packed table to the model on, or `own`: text "
            "that a decoder writes itself, of other models tokens drawn as often as text has them. "
            "The bytes stay the same. By default the codes of an encoder are chosen again on drawn "
            "tokens, where SOURCE has weights, and nothing is trained; `none` leaves that out."
        ),
    )
    heal_steps: int = field(
        default=250,
        metadata=_cli(
            "Training steps of --heal, at most; 0 only chooses codes again.", whole=limits.STEPS
        ),
    )
    heal_train: str | None = field(
        default=None,
        metadata=_cli(
            "What --heal trains: the table; the model's LayerNorms and biases too; or all weights "
            "[default: table; of a decoder norms, and weights with --weights int4].",
            choices=("table", "norms", "weights"),
            hidden=("body",),
        ),
    )
    name: str | None = None
    config: LightTokenConfig | PaperConfig | None = None

    def __post_init__(self) -> None:
        for name, option in cli_options().items():
            value = getattr(self, name)
            if option.whole is not None and value is not None:
                option.whole.check(name, value)
            # Exporters and methods are checked where they are looked up.
            if not option.choices or value is None or name in ("exporter", "method"):
                continue
            if value not in (*option.choices, *option.hidden):
                raise InputError(
                    f"{name} {value!r} is unknown; choose from "
                    f"{', '.join(map(str, option.choices))}"
                )
        if self.heal_train == "weights":  # as manifests call it
            object.__setattr__(self, "heal_train", TRAINED[-1])
        if (self.batch is None) != (self.sequence is None):
            raise InputError("batch and sequence come together; give both, or neither")
        if self.batch is not None and self.sequence is not None:
            limits.CALL.check("tokens of a call, batch x sequence,", self.batch * self.sequence)
        target = find_target(self.target, self.weights)
        if self.fuse and not target.fusible:
            raise InputError(f"{self.target} has no fused attention; leave fuse out")
        if self.table is not None and self.all_tables:
            raise InputError(
                f"table ({self.table}) and all_tables exclude each other; give one of them"
            )
        if self.all_tables and (self.packed is not None or self.heals):
            raise InputError("packed and heal are for one table; leave all_tables out")
        if self.max_model_bytes is not None:
            self._check_shares()
        elif self.weights == MIXED:
            raise InputError(
                f"weights {MIXED} have as many bits as a budget leaves them; give "
                f"--max-model-bytes, or choose from {', '.join(TRELLISES)}"
            )
        if self.head_ratio is not None and self.head_bytes is not None:
            raise InputError(
                f"head_ratio ({self.head_ratio:g}) and head_bytes ({self.head_bytes}) exclude each "
                "other; give one of them"
            )
        if self.language_codes and not all(self.language_codes):
            raise InputError(
                f"languages {self.languages!r} is no list of codes; give some such as de,en"
            )
        if self.cuts and self.exact_rows not in (None, SPECIAL):
            raise InputError(
                f"exact_rows {self.exact_rows!r} are ids of the whole vocabulary, which languages "
                "and vocabulary number anew; name special, or leave one of them out"
            )
        self._head_budget()  # refuses what is none
        self._check_stock()

    def _check_stock(self) -> None:
        """Refuse what integers with scales have no use for."""
        if not self.stock:
            for name in ("table_bits", "table_group_size"):
                if (value := getattr(self, name)) is not None:
                    raise InputError(
                        f"{name} ({value}) is for stock operators; add --decode stock, or leave "
                        "it out"
                    )
            return
        target = TARGETS[self.target]
        if not target.stock:
            raise InputError(
                f"target {self.target} takes no stock operators of onnxruntime's; leave --decode "
                "stock out"
            )
        if self.table_bits is not None and self.table_bits not in target.stock:
            raise InputError(
                f"target {self.target} has no stock operators of {self.table_bits} bits; choose "
                f"from {', '.join(map(str, target.stock))}"
            )
        if self.method != METHODS[0]:
            raise InputError(
                f"decode stock writes integers with scales, not the codes of method {self.method}; "
                "leave one of the two out"
            )
        if self.config not in (None, LightTokenConfig()):
            raise InputError(
                "decode stock searches no codes, which effort and additive codebooks are for; "
                "leave them out"
            )
        for name in ("packed", "heal"):
            if (path := getattr(self, name)) is not None and (name == "packed" or self.heals):
                raise InputError(
                    f"{name} ({path}) is for codes that no stock operator reads; leave it or "
                    "--decode stock out"
                )
        if self.asks_for_own_head:
            raise InputError(
                "a head of its own is a weight like all others in stock operators; leave "
                "head_ratio and head_bytes out, and use --weights int4"
            )

    @property
    def stock(self) -> bool:
        """Whether tables become integers that onnxruntime's own operators read."""
        return self.decode == STOCK

    def _check_shares(self) -> None:
        """Raise InputError for options that leave nothing to share out, or do not say how much."""
        for name, asked in (
            ("packed", self.packed is not None),
            ("all_tables", self.all_tables),
            ("format ort", self.format == "ort"),
            ("decode stock", self.stock),
        ):
            if asked:
                raise InputError(
                    f"max_model_bytes shares bytes between one new table and the weights of an "
                    f".onnx file; leave {name} out"
                )

    @property
    def heals(self) -> bool:
        """Whether healing was asked for."""
        return self.heal is not None and str(self.heal) != UNHEALED

    @property
    def searches_codes(self) -> bool:
        """Whether the table gets codes of method lighttoken, not of the paper's recipe."""
        return self.method == "lighttoken" and not isinstance(self.config, PaperConfig)

    @property
    def chooses_again(self) -> bool:
        """Whether codes may be chosen again by what the model makes of their errors."""
        one = self.packed is None and self.table is None and not self.all_tables
        return self.heal is None and self.searches_codes and one and not self.stock

    @property
    def heal_text(self) -> Path | None:
        """The file to heal on; None without one, also where a decoder writes the text itself."""
        return self.heal if self.heals and str(self.heal) != OWN_TEXT else None

    @property
    def language_codes(self) -> tuple[str, ...]:
        """The languages to keep, in lower case, each once; () for all."""
        if self.languages is None:
            return ()
        return tuple(dict.fromkeys(code.strip().lower() for code in self.languages.split(",")))

    @property
    def cuts(self) -> bool:
        """Whether tokens leave the vocabulary."""
        return self.languages is not None or self.vocabulary is not None

    @property
    def shrinks(self) -> bool:
        """Whether weights beside the tables, or a head's copy, get fewer bits."""
        return self.weights != "fp32" or self.head == "nbits"

    @property
    def asks_for_own_head(self) -> bool:
        """Whether a head of its own was given a size."""
        return self.head_ratio is not None or self.head_bytes is not None

    def head_budget(self, ratio: float) -> Budget:
        """What a head of its own may take; ``ratio`` where nothing else was asked for."""
        return self._head_budget() or Budget(ratio=ratio)

    def _head_budget(self) -> Budget | None:
        if self.head_ratio is None and self.head_bytes is None:
            return None
        try:
            return Budget(ratio=self.head_ratio, max_bytes=self.head_bytes)
        except InputError as error:
            raise InputError(f"head: {error}") from error


def cli_options() -> dict[str, CliOption]:
    """The options of the command line, by the field of :class:`ExportOptions` that they are."""
    return {one.name: one.metadata[_CLI] for one in fields(ExportOptions) if _CLI in one.metadata}


def decided(options: ExportOptions) -> ExportOptions:
    """With what the target decides, where nothing else was asked for."""
    target = find_target(options.target, options.weights)
    decode = options.decode or target.decode
    usual = (target.step_head if options.with_past else None) or target.head
    head = options.head or ("packed" if options.stock else usual)
    # An inlined function is asked for where only standard operators are known.
    fuse = (target.fuse and decode != "inline") if options.fuse is None else options.fuse
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
    if options.asks_for_own_head and head != "packed":
        raise InputError(
            f"head_ratio and head_bytes are for a packed head, and this one is {head}; "
            "add --head packed"
        )
    batch, sequence = sizes
    return replace(options, decode=decode, head=head, fuse=fuse, batch=batch, sequence=sequence)
