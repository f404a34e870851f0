"""What sentence-transformers does after the transformer: modules.json and the folders it names."""

from dataclasses import dataclass
from typing import Any

from toolkit.bundle.dense import WEIGHTS
from toolkit.bundle.late_interaction import ARCHITECTURE, COLBERT, is_late_interaction
from toolkit.bundle.manifest import Pooling
from toolkit.errors import InputError
from toolkit.inside import is_no_part

from .folder_files import CONFIG, MODULES
from .settings import Settings

# What a bundle's pipeline stands for, and dropout, which does nothing.
_KNOWN = {"Transformer", "Pooling", "Normalize", "Dropout"}
_FLAG = "pooling_mode_"
# How its settings name the modes, in the order in which several are joined.
_MODES = {
    "cls": "cls_token",
    "max": "max_tokens",
    "mean": "mean_tokens",
    "mean_sqrt_len": "mean_sqrt_len_tokens",
    "weightedmean": "weightedmean_tokens",
    "lasttoken": "lasttoken",
}
_SPARSE = "SpladePooling"
_PROJECTION = "Dense"  # without pooling: of each token's vector, as ColBERT has it
# Its settings, and their words in a mode.
_STRATEGIES = ("max", "sum")
_ACTIVATIONS = {"relu": "", "log1p_relu": "-log1p"}
_OF_MODULES = ("config.json", *WEIGHTS)
_TOKENS = Pooling(COLBERT, normalize=True)


@dataclass(frozen=True)
class SentenceModules:
    """How one vector of a text is made.

    Attributes:
        pooling: None where there is none, or one that is not known here.
        files: to copy, relative to the folder.
        left_out: kinds of modules that no bundle's pipeline stands for, such as Dense.
        encodes: whether there is a module that pools token vectors, known or not, or one that
            projects each of them.
        projection: folders of what projects token vectors, in order; ``""`` for the model's own,
            whose weights hold the projection too.
    """

    pooling: Pooling | None = None
    files: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    encodes: bool = False
    projection: tuple[str, ...] = ()


def read_modules(settings: Settings) -> SentenceModules:
    """From modules.json; what is not known there is left out, with a line in ``settings.notes``.

    Raises:
        InputError: a damaged file, where the settings are read strictly; or one that leads out of
            its folder.
    """
    modules = _modules(settings)
    kinds = [kind for kind, _ in modules]
    if not {"Pooling", _SPARSE, _PROJECTION} & set(kinds):
        return _without_modules(settings)
    folders = [folder for kind, folder in modules if kind != "Transformer" and folder]
    for folder in folders:
        if is_no_part(folder):
            raise InputError(
                f"{settings.folder / MODULES} leads out of its folder, to {folder}; download the "
                "model again"
            )
    files = tuple(
        name
        for folder in folders
        for each in _OF_MODULES
        if (settings.folder / (name := f"{folder}/{each}")).is_file()
    )
    if _SPARSE in kinds:
        return SentenceModules(_sparse(settings, dict(modules)[_SPARSE]), files)
    if "Pooling" not in kinds:
        projection = tuple(folder for kind, folder in modules if kind == _PROJECTION)
        return SentenceModules(_TOKENS, files, encodes=True, projection=projection)
    left_out = tuple(kind for kind in kinds if kind not in _KNOWN)
    if left_out:
        settings.notes.append(
            f"{MODULES} asks for {' and '.join(left_out)}, which the graph does not hold: `run` "
            "gives the vectors without; sentence-transformers adds it"
        )
    pooling = _pooling(settings, dict(modules)["Pooling"], normalize="Normalize" in kinds)
    return SentenceModules(pooling, files, left_out, encodes=True)


def _without_modules(settings: Settings) -> SentenceModules:
    """Of a folder whose modules.json does not say: ColBERT models need none."""
    if not is_late_interaction(settings.read):
        return SentenceModules()
    own = ARCHITECTURE in (settings.read(CONFIG).get("architectures") or ())
    return SentenceModules(_TOKENS, encodes=True, projection=("",) if own else ())


def _modules(settings: Settings) -> list[tuple[str, str]]:
    """Kind and folder of each, in order; [] without a modules.json."""
    data = settings.read_list(MODULES)
    try:
        return [(str(m["type"]).rsplit(".", 1)[-1], str(m["path"])) for m in data]
    except (KeyError, TypeError) as error:
        settings.refuse(MODULES, f"is damaged ({error!r}); download the model again")
        return []


def _pooling(settings: Settings, folder: str, *, normalize: bool) -> Pooling | None:
    name = f"{folder}/config.json"
    config = settings.read(name)
    modes = _asked(config)
    if modes:
        return Pooling("+".join(modes), normalize=normalize)
    flags = [key for key, value in config.items() if key.startswith(_FLAG[:-1]) and value]
    settings.notes.append(
        f"{name} asks for pooling that is not known here ({', '.join(flags) or 'none'}): `run` "
        "takes the mean of the token vectors"
    )
    return None


def _sparse(settings: Settings, folder: str) -> Pooling | None:
    """Of a masked language model that weighs terms."""
    name = f"{folder}/config.json"
    config = settings.read(name)
    strategy = config.get("pooling_strategy", _STRATEGIES[0])
    activation = config.get("activation_function", "relu")
    if strategy in _STRATEGIES and activation in _ACTIVATIONS:
        return Pooling(f"splade-{strategy}{_ACTIVATIONS[activation]}")
    settings.notes.append(
        f"{name} asks for weights of terms that are not known here ({strategy}, {activation}): "
        "`run` fills masks"
    )
    return None


def _asked(config: dict[str, Any]) -> list[str]:
    """The modes of a Pooling module; [] where one of them is unknown."""
    named = config.get("pooling_mode")
    words = [named] if isinstance(named, str) else named
    if not isinstance(words, list):
        words = [key.removeprefix(_FLAG) for key in config if key.startswith(_FLAG) and config[key]]
    known = {word: mode for mode, flag in _MODES.items() for word in (mode, flag)}
    modes = {known.get(str(word)) for word in words}
    return [] if None in modes else [mode for mode in _MODES if mode in modes]
