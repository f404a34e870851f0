"""One export while it runs: what was asked for, and what each step has found so far."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from toolkit import Budget
from toolkit.bundle.manifest import Healed, Manifest, Parity
from toolkit.graph.layer_bytes import Layers
from toolkit.graph.own_heads import OwnHead
from toolkit.graph.tables import TableUse
from toolkit.rounding import GroupedWeight

from ..bundle.structure import Structure
from ..exact import ExactRows
from ..options import ExportOptions
from ..passes.fuse_attention import Fusible
from ..sources.facts import TOKENIZER
from ..sources.prior import importance_of
from ..sources.several import SPEECH
from ..sources.source import LoadedModel
from ..tables import Embedding, PackedTable
from ..targets import TARGETS, Target
from ..verify.samples import Samples

if TYPE_CHECKING:
    from toolkit.finetune.decoder_statistics import DecoderStatistics

Report = Callable[[float, str], None]
"""Told the share of a step that is done, 0 to 1, and a word on what is being done."""


@dataclass(eq=False)
class Export:
    """What the steps of one export share.

    Attributes:
        source: hub id, folder or .onnx file, as given.
        budget: for the tables; None until a step has decided it, and for stock operators, where it
            says nothing.
        options: with every default decided.
        folder: where the bundle grows; it gets its name when all is done.
        work: a folder for files on the way.
        original_folder: where the uncompressed .onnx goes that is exported on the way.

    Found by the steps, in this order:
        loaded: the uncompressed model.
        structure: where the bundle's files go.
        samples: real inputs for the checks; None for made-up ones.
        tables: those to pack, as they stand in ``model``.
        stored: the same tables as they stand in the uncompressed model, by name.
        own_heads: output heads to pack that are matrices of their own, as they stand there.
        head_budget: for each of them.
        not_here: what of the model onnxruntime cannot run here, so that its rows alone are checked;
            "" where it runs.
        fusible: nodes that may be joined; nothing unless the options ask for that.
        kernel: the library of the native operators, to be measured too.
        fused: attentions that became one node; None unless the options ask for that.
        statistics: what a decoder's own text says about its table; None where it was not asked.
        shrunk: the model with its weights in the form that was found best for its bytes; None where
            no bytes were shared out.
        forms: of weights by their names, where each has its own.
        exact: rows of the token table that stay as they are, by the table's name.
        embeddings: a packed table for each of ``tables``.
        head_embeddings: and for each of ``own_heads``.
        repeats: this file's one table is the model's first.
        shared: output heads of this file that hold the values of the model's first table.
        healed: what healing gained, if it was asked for.
        rounded: matrices of few bits as healing left them; none without it.
        trained: the model that the weights come from; ``loaded`` unless healing trained them.
        weights_path: the .onnx file before the rewrite, its weights in their final form.
        model: that file's graph, rewritten in place.
        packed: what became of each table.
        packed_heads: and of each head with a matrix of its own.
        model_path: the bundle's model file.
        layers: the packed layers of that file, before their functions are inlined.
        parity: what the checks measured.
        head_parity: and of each of ``packed_heads``.
        is_part: it is of one among several files of a model.
        others: exports of the other files of the same model, such as an encoder.
        manifest: of the complete bundle.
    """

    source: str
    budget: Budget | None
    options: ExportOptions
    folder: Path
    work: Path
    original_folder: Path
    kernel: Path | None = None
    loaded: LoadedModel = field(init=False)
    structure: Structure = field(init=False)
    samples: Samples | None = None
    tables: list[TableUse] = field(init=False)
    stored: dict[str, TableUse] = field(init=False)
    own_heads: list[OwnHead] = field(init=False)
    head_budget: Budget = field(init=False)
    not_here: str = ""
    fusible: Fusible = field(default_factory=Fusible)
    fused: int | None = None
    statistics: "DecoderStatistics | None" = None
    exact: dict[str, ExactRows] = field(default_factory=dict)
    embeddings: list[Embedding] = field(init=False)
    head_embeddings: list[Embedding] = field(default_factory=list)
    repeats: bool = False
    shared: frozenset[str] = frozenset()
    healed: Healed | None = None
    rounded: tuple[GroupedWeight, ...] = ()
    shrunk: Path | None = None
    forms: dict[str, str] = field(default_factory=dict)
    trained: LoadedModel = field(init=False)
    weights_path: Path = field(init=False)
    model: ir.Model = field(init=False)
    packed: list[PackedTable] = field(init=False)
    packed_heads: list[PackedTable] = field(init=False)
    layers: Layers | None = None
    model_path: Path = field(init=False)
    parity: Parity = field(init=False)
    head_parity: list[float | None] = field(init=False)
    is_part: bool = False
    others: "list[Export]" = field(default_factory=list)
    manifest: Manifest = field(init=False)
    _importance: dict[int, NDArray[np.float64] | None] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        """What the bundle is made for."""
        return TARGETS[self.options.target]

    @property
    def tokenizer(self) -> Path:
        """The model's tokenizer.json, whether or not it is there."""
        return self.loaded.folder / TOKENIZER

    @property
    def ids_input(self) -> str:
        """The graph input that the token table is looked up by."""
        return next(iter(self.stored.values())).ids_input

    @property
    def text_corpus(self) -> Path | None:
        """``--corpus`` where it is text; of speech models it is recordings."""
        return None if self.loaded.facts.task == SPEECH else self.options.corpus

    def importance(self, rows: int) -> NDArray[np.float64] | None:
        """The importance of each row of a token table of so many rows; None where nothing tells."""
        if rows not in self._importance:
            options = self.options
            cut = self.loaded.cut
            shares = None if cut is None or len(cut.kept) != rows else cut.importance
            self._importance[rows] = importance_of(
                self.tokenizer, rows, self.text_corpus, options.heal_text, shares=shares
            )
        return self._importance[rows]
