"""What an encoder-decoder writes to recordings or texts says what its table is for.

A speech or translation model writes nothing of its own: it wants something to hear or read. So
without ``--corpus`` its table is compressed by what the tokenizer knows, and with it by what the
model writes to the corpus, as a decoder's table is by the text that it writes itself.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.audio import read_audio
from toolkit.errors import InputError
from toolkit.extras import require
from toolkit.lines import read_lines
from toolkit.progress import Progress
from toolkit.quiet import quiet

from .sources.several import SPEECH, TEXT_TO_TEXT
from .sources.source import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor

    from toolkit.finetune.decoder_statistics import DecoderStatistics

RECORDINGS = (".wav", ".flac", ".ogg", ".mp3")
_MOST = 200  # recordings or lines: some thousand tokens, as many as tell
_LONGEST = 128  # tokens read, and written, of each
_POSITIONS = ("max_target_positions", "max_position_embeddings")
_STARTS = 8  # positions for the tokens that a text begins with, such as language and task

Given = dict[str, "Tensor"]


def is_encoder_decoder(loaded: LoadedModel) -> bool:
    """Whether the original is one in PyTorch, which can write."""
    return loaded.exporter != "none" and loaded.facts.task in (SPEECH, TEXT_TO_TEXT)


def written_statistics(
    loaded: LoadedModel,
    corpus: Path,
    *,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> "DecoderStatistics":
    """Figures over what the model writes to ``corpus``.

    Args:
        loaded: an encoder-decoder from a model folder.
        corpus: of a speech model a folder of recordings, or one; else UTF-8 text, one text a line.
            The first 200 are taken.
        trust_remote_code: run the Python code that a model brings.
        progress: told how far the work is.

    Raises:
        InputError: a corpus that holds nothing to hear or to read.
    """
    from toolkit.finetune.decoder_statistics import measure_written

    from .sources.dynamo import load_model

    if loaded.facts.task == SPEECH:
        files = _recordings(corpus)
        count, given = len(files), _heard(loaded.folder, files)
    else:
        lines = _lines(corpus)
        count, given = len(lines), _read(loaded.folder, lines)
    model = load_model(loaded.folder, loaded.facts, trust_remote_code=trust_remote_code)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done / count, "the model writes text to be measured on")

    return measure_written(model, _written(model, given), progress=tell)


def _written(model: Any, examples: Iterator[Given]) -> "Iterator[tuple[Given, Tensor]]":
    """Each with the text that the model finds likeliest, token by token."""
    limits = (getattr(model.config, name, None) for name in _POSITIONS)
    longest = min([_LONGEST, *(limit - _STARTS for limit in limits if limit)])
    for given in examples:
        with quiet():
            found = model.generate(
                **given,
                max_new_tokens=longest,
                num_beams=1,
                do_sample=False,
                return_dict_in_generate=True,  # with the tokens that it starts with
            )
        yield given, found["sequences"][0]


def _recordings(corpus: Path) -> list[Path]:
    require("speech")
    found = [corpus] if corpus.is_file() else sorted(corpus.glob("*"))
    files = [path for path in found if path.suffix.lower() in RECORDINGS]
    if not files:
        raise InputError(
            f"{corpus} holds no recording; give a speech model a folder of "
            f"{', '.join(RECORDINGS)} files as --corpus"
        )
    return files[:_MOST]


def _heard(folder: Path, files: list[Path]) -> Iterator[Given]:
    import transformers

    kind: Any = transformers.AutoFeatureExtractor
    extractor = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    rate = int(extractor.sampling_rate)
    for path in files:
        yield dict(extractor(read_audio(path, rate), sampling_rate=rate, return_tensors="pt"))


def _lines(corpus: Path) -> list[str]:
    return [line.strip() for line in read_lines(corpus)[:_MOST]]


def _read(folder: Path, lines: list[str]) -> Iterator[Given]:
    import transformers

    kind: Any = transformers.AutoTokenizer
    tokenizer = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for line in lines:
        yield dict(
            tokenizer(
                line,
                truncation=True,
                max_length=_LONGEST,
                return_tensors="pt",
                return_token_type_ids=False,  # some tokenizers make them, nobody reads them
            )
        )
