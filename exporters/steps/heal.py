"""The packed table is fitted to its model on plain text, in the same bytes."""

from toolkit.bundle.manifest import Healed
from toolkit.graph.rows import table_values

from ..healing import export_trained, heal_table
from .state import Export, Report


def heal(state: Export, report: Report) -> None:
    """Heal the one table; export the model anew if its own parameters were trained too.

    Raises:
        InputError: as :func:`exporters.healing.heal_table`.
    """
    from toolkit.finetune.distil import DistilConfig
    from toolkit.finetune.heal import HealConfig

    options = state.options
    assert options.heal is not None
    (embedding,) = state.embeddings
    dense = table_values(state.tables[0])
    steps = DistilConfig(steps=options.heal_steps // HealConfig.rounds)
    embedding, healing = heal_table(
        state.loaded,
        embedding,
        dense,
        options.heal,
        HealConfig(steps, HealConfig.rounds, seed=options.seed, train=options.heal_train),
        importance=state.importance(len(dense)),
        trust_remote_code=options.trust_remote_code,
        progress=report,
    )
    state.embeddings = [embedding]
    state.healed = Healed(
        healing.texts, healing.before, healing.after, healing.steps, options.heal_train
    )
    if healing.parameters:
        state.trained = export_trained(
            state.loaded,
            healing.parameters,
            state.work / "healed",
            trust_remote_code=options.trust_remote_code,
            with_past=options.with_past,
        )
        state.weights_path = state.trained.path
