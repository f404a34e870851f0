"""Three roads from a transformers folder to ONNX: torch's dynamo exporter, optimum, and the builder
of onnxruntime-genai.

Dynamo is the default: it keeps tied weights one, knows newer architectures and works with every
transformers from 4.57 on. Optimum takes over where dynamo fails, and can be forced. The builder is
only taken when asked for: it makes decoders of onnxruntime's own operators.
"""

from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import onnx_ir.passes.common as common_passes

from toolkit.errors import InputError, MissingDependencyError
from toolkit.extras import installed
from toolkit.quiet import quiet, reason

from .apart import Job, in_own_process
from .facts import WITH_HEADS, Facts
from .genai import build_with_genai
from .several import SPEECH, TEXT_TO_TEXT, find_several, is_several
from .text_towers import text_tower

EXPORTERS = ("auto", "dynamo", "optimum", "genai")
_MODEL = "model.onnx"
_OPTIMUMS_TASKS = {"text-ranking": "text-classification"}  # where its word is not the hub's


def export_onnx(
    folder: Path,
    facts: Facts,
    out: Path,
    exporter: str,
    *,
    trust_remote_code: bool = False,
    with_past: bool = False,
) -> tuple[Path, str]:
    """Export the model in ``folder`` to ``out/model.onnx`` (weights in a file beside it).

    ``with_past``: a decoder takes the keys and values of the tokens before, and gives those of all.

    Returns:
        The path, and the exporter that was used.

    Raises:
        InputError: unknown exporter, no decoder to make a cache for, or no road works; the message
            gives the reason.
        MissingDependencyError: what was asked for is not installed.
    """
    trust = trust_remote_code
    if exporter not in EXPORTERS:
        raise InputError(f"exporter {exporter!r} is unknown; choose from {', '.join(EXPORTERS)}")
    several = is_several(facts.task, with_past=with_past)
    if several and exporter == "genai":
        raise InputError(
            f"{facts.architecture or folder.name} becomes an encoder and a decoder with a cache, "
            "which genai does not write; leave --exporter genai out"
        )
    task = _past_task(facts) if with_past or several else facts.task
    if exporter == "genai":
        return build_with_genai(folder, facts, out, with_past=with_past, trust=trust), "genai"
    out.mkdir(parents=True, exist_ok=True)
    job = Job("dynamo", folder, facts, task, out, trust, with_past)
    errors: list[InputError] = []
    for road in _roads(exporter, several):
        its_task = _OPTIMUMS_TASKS.get(task, task) if road == "optimum" else task
        try:
            in_own_process(replace(job, road=road, task=its_task))
            return _written(out), road
        except InputError as refusal:
            errors.insert(0, refusal)
    if len(errors) == 1:
        raise errors[0]
    error, first = errors
    raise InputError(f"{error}; before, {first}") from error


def _roads(exporter: str, several: bool) -> list[str]:
    """What is tried, in order.

    An encoder and a decoder have the same values by both roads. Where optimum is there it goes
    first: before its table is packed, a Whisper that it wrote needs a tenth less time a token,
    as torch's attention transposes the encoder's keys at each.
    """
    if exporter == "auto" and not has_optimum():
        return ["dynamo"]
    if exporter == "auto":
        return ["optimum", "dynamo"] if several else ["dynamo", "optimum"]
    if exporter == "optimum" and not has_optimum():
        raise MissingDependencyError(
            "the optimum exporter is not installed; pip install 'lighttoken[optimum]'"
        )
    return [exporter]


def _written(out: Path) -> Path:
    """The first file of what an exporter wrote."""
    return (find_several(out) or (out / _MODEL,))[0]


def export_here(job: Job) -> None:
    """Do it in this process.

    Raises:
        InputError: the exporter does not take the model.
    """
    if job.road == "dynamo":
        for stem, model in _dynamo(job).items():
            _save(model, job.out / f"{stem}.onnx")
    elif is_several(job.facts.task, with_past=job.with_past):
        _run_optimum(job, job.out)
    else:
        _run_optimum(job, job.out / "optimum")
        _save(ir.load(job.out / "optimum" / _MODEL), job.out / _MODEL)


def _past_task(facts: Facts) -> str:
    """Optimum's word for a decoder with a cache."""
    if facts.task not in ("text-generation", TEXT_TO_TEXT, SPEECH):
        raise InputError(
            f"--with-past is for decoders (text-generation), {facts.architecture or 'this model'} "
            f"is for {facts.task}; leave it out"
        )
    return f"{facts.task}-with-past"


def has_optimum() -> bool:
    """Whether optimum's ONNX exporter is installed."""
    return installed("optimum.exporters.onnx")


def _dynamo(job: Job) -> dict[str, ir.Model]:
    """Models by the names of their files."""
    folder, facts = job.folder, job.facts
    try:
        with quiet():
            from . import dynamo

            if is_several(facts.task, with_past=job.with_past):
                return dynamo.export_several(folder, facts, trust_remote_code=job.trust)
            model = dynamo.export(
                folder, facts, trust_remote_code=job.trust, with_past=job.with_past
            )
            return {Path(_MODEL).stem: model}
    except InputError:
        raise
    except Exception as error:  # whatever the traced model raises
        other = "" if has_optimum() else ", or pip install 'lighttoken[optimum]' for another way"
        raise InputError(
            f"torch.onnx.export cannot take {folder.name} ({reason(error)}); give an .onnx "
            f"file{other}"
        ) from error


def _run_optimum(job: Job, out: Path) -> None:
    _refuse_two(job.folder, job.facts)
    tower = text_tower(job.facts.architecture)
    if tower is not None and tower.whole:
        raise InputError(
            f"optimum exports {job.facts.architecture} with both its halves alone; "
            "leave --exporter optimum out"
        )
    if "" in job.facts.projection:
        raise InputError(
            f"optimum exports {job.facts.architecture} without its projection; "
            "leave --exporter optimum out"
        )
    _refuse_made_up(job)  # last, as it loads the model
    try:
        with quiet():
            from optimum.exporters.onnx import main_export

            main_export(
                str(job.folder),
                out,
                task=job.task,
                monolith=job.task == TEXT_TO_TEXT,  # else encoder and decoder are two files
                library_name="transformers",
                local_files_only=not job.trust,  # the code may be in another repository
                trust_remote_code=job.trust,
                do_validation=False,  # the export's own checks compare outputs
            )
    except Exception as error:  # whatever the traced model raises
        raise InputError(
            f"optimum cannot export {job.folder.name} ({reason(error)}); give an .onnx file"
        ) from error


def _refuse_two(folder: Path, facts: Facts) -> None:
    """Optimum loads the model itself, and errs where config.json and files differ on a head."""
    import transformers

    from .tied import refuse_two

    kind = getattr(transformers, facts.architecture or "", None)
    if kind is not None and facts.task in WITH_HEADS:
        with quiet():
            refuse_two(
                kind,
                folder,
                "optimum would take one for both: leave --exporter optimum out, or set "
                "tie_word_embeddings to false",
            )


def _refuse_made_up(job: Job) -> None:
    """Optimum loads the model itself, and lets transformers make up weights that the files lack."""
    try:
        with quiet():
            from .dynamo import load_model

            load_model(job.folder, job.facts, trust_remote_code=job.trust)
    except InputError:
        raise
    except Exception:  # optimum may load what is not loaded here
        return


def _save(model: ir.Model, path: Path) -> None:
    # Exporters leave stack traces in each node; they would pass for the model's own bytes.
    common_passes.ClearMetadataAndDocStringPass()(model)
    ir.save(model, path, external_data=f"{path.name}.data")
