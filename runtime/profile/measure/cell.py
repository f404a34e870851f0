"""The measurement of one model in one place; its methods start the measuring processes."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from toolkit.errors import InputError, LightTokenError

from ... import native
from ..layer import embedding_initializer_bytes, embedding_share, find_layer
from ..model import Model
from ..placement.partitioned_graph import partitioned_graph, read_graph
from ..placement.placement import Placement, place_graph
from ..places import Place
from ..report.report import (
    FAILED,
    FUNCTION_ONLY,
    MEASURED,
    WRONG,
    Measurement,
    OutputCheck,
    Statistic,
    Timeline,
    metrics,
)
from .disk import drop, read_afresh
from .job import Answer, Job
from .launch import Launcher, Outcome
from .parity import compare, draw_check_ids
from .watch import timeline


@dataclass(frozen=True)
class Structure:
    """Where nodes run, and the figures that are taken once for a model, not in each round."""

    placement: Placement | None = None
    figures: dict[str, float] = field(default_factory=dict)


def examine(
    model: Model,
    place: Place,
    point: tuple[int, int],
    answer: Answer,
    *,
    native: bool,
    writes: bool = False,
) -> Structure:
    """From the answer to the measure ``places``, taken at ``point`` of the grid.

    ``native``: whether the session had the native kernel. ``writes``: whether its nodes were timed
    as it wrote token by token.

    Raises:
        InputError: the graph cannot be read, as that of an ``.ort`` file.
        FormatError: a damaged model.
    """
    figures = dict(answer.figures)
    dimensions = model.dimensions(*point) if place.static else {}
    layer = find_layer(read_graph(model.path).graph, model.ids_input or None)
    share = embedding_share(answer.facts.get("profiled") or (), layer)
    if share is not None:
        name = f"embedding_{point[0]}x{point[1]}_share"
        figures[f"writing_{point[1]}_embedding_share" if writes else name] = share
    with partitioned_graph(model.path, dimensions=dimensions, native=native) as graph:
        placement = place_graph(graph, answer.facts, place.provider)
        figures["embedding_initializer_bytes"] = float(embedding_initializer_bytes(graph, layer))
        figures["initializer_bytes"] = float(
            sum(v.const_value.nbytes for v in graph.initializers.values() if v.const_value)
        )
    return Structure(placement, figures)


def writes_at(model: Model, place: Place) -> bool:
    """Whether it is measured as it writes there: a page and a graph of fixed shapes cannot."""
    return model.writes and not place.in_browser and not place.static


_UNMAPPED = {
    "load_rss_bytes": "unmapped_load_rss_bytes",
    "load_peak_rss_bytes": "unmapped_peak_rss_bytes",
}


class Cell:
    """A model in a place, and its figures so far. After a process has failed no more are added."""

    def __init__(self, model: Model, place: Place, task: Job, *, op: bool) -> None:
        self.model, self.place = model, place
        kernel = native.find() if op and place.word == "cpu" else None
        self._grid = model.possible(task.grid)
        self._job = replace(
            task,
            model=str(model.path),
            data=model.data,
            provider=place.provider,
            settings=dict(place.settings),
            plugin=place.plugin,
            library=str(kernel.path) if kernel is not None and kernel.usable else "",
            grid=self._grid,
            ids_input=model.ids_input,
            tokens=task.tokens if writes_at(model, place) else 0,
        )
        if self._job.tokens:
            self._job = replace(self._job, warmup=min(1, task.warmup))
        self._status = MEASURED if place.timed else FUNCTION_ONLY
        self._note = place.note
        self._runtime = ""
        self._parity: OutputCheck | None = None
        self._rounds: list[dict[str, float]] = [{}]
        self._timeline: Timeline | None = None
        self._structure = Structure()

    def __str__(self) -> str:
        return f"{self.model.name} on {self.place.word}"

    @property
    def ended(self) -> str | None:
        """Why no figures are added any more; None as long as they are."""
        return self._note if self._status in (FAILED, WRONG) else None

    @property
    def rounds(self) -> list[dict[str, float]]:
        """Figures by metric, of each round so far."""
        return [taken for taken in self._rounds if taken]

    @property
    def writes(self) -> bool:
        """Whether it is a decoder that is measured as it writes."""
        return self._job.tokens > 0

    def check(self, launcher: Launcher) -> None:
        """Compare its outputs with those of the same file on the CPU, run by standard operators."""
        point = self._grid[0]
        here = replace(self._at(point, "values"), ids=draw_check_ids(self._job.rows, point))
        try:
            wanted = launcher.reference(here)
        except InputError as error:
            self._end(FAILED, str(error))
            return
        found = self._ask(launcher, here)
        if found is None:
            return
        self._runtime = found.answer.runtime
        if found.answer.facts.get("adapter", {}).get("software"):
            self._status = FUNCTION_ONLY
            self._note = (
                f"{self.place.note}; its GPU is emulated in software, so its times mean nothing"
            )
        limit = max(self.place.limit, self.model.limit)
        self._parity = compare(found.answer, wanted, limit)
        if not self._parity.right:
            by = self._parity.error
            off = "differ in shape or are no numbers" if by is None else f"differ by {by:.2g}"
            self._end(
                WRONG,
                f"outputs {off} from the CPU's (root mean square, relative), where "
                f"{limit:g} is allowed; nothing was timed{self._advice()}",
            )

    def take(self, launcher: Launcher, measure: str) -> None:
        """One measure of this round: ``time``, ``cold``, ``memory`` or ``unmapped``."""
        if measure == "time" and self._status == MEASURED and self.writes:
            self._add(self._ask(launcher, replace(self._job, measure="write")))
            self._rounds[-1] |= self._reading(self._rounds[-1])
        elif measure == "time" and self._status == MEASURED:
            for job in self._every_point("time"):
                self._add(self._ask(launcher, job))
        elif measure == "cold":
            if drop(self.model.files):
                self._add(self._ask(launcher, self._at(self._grid[0], "cold")))
            read_afresh(self.model.files)
        elif measure == "memory":
            watch = self._timeline is None and not self.place.in_browser
            outcome = self._ask(launcher, self._last_point("memory"), watch=watch)
            self._add(outcome)
            if outcome is not None and watch:
                self._timeline = timeline(outcome.samples, outcome.answer.marks)
        elif measure == "unmapped":
            job = replace(self._at(self._grid[0], "memory"), load="bytes", runs=1, warmup=0)
            outcome = self._ask(launcher, job, must=False)  # not every runtime takes weights so
            if outcome is not None:
                told = outcome.answer.figures
                self._rounds[-1] |= {
                    ours: told[name] for name, ours in _UNMAPPED.items() if name in told
                }

    def end_round(self) -> None:
        """Figures that are taken from now on belong to the next round."""
        self._rounds.append({})

    def examine(self, launcher: Launcher) -> None:
        """Ask for the measure ``places``: where nodes run, and what they cost."""
        outcome = self._ask(launcher, self._last_point("places"))
        if outcome is None:
            return
        try:
            self._structure = examine(
                self.model,
                self.place,
                self._grid[-1],
                outcome.answer,
                native=bool(self._job.library),
                writes=self.writes,
            )
        except LightTokenError as error:  # an .ort file gives figures only
            self._structure = Structure(figures=outcome.answer.figures)
            self._note = self._note or f"where nodes run is unknown: {error}"

    def measurement(self) -> Measurement:
        """All that was found, as a part of the report."""
        figures = {}
        rounds = self.rounds
        once = self.model.sizes | self._structure.figures if rounds else {}
        for metric in metrics(self._grid):
            values = [one[metric.name] for one in rounds if metric.name in one]
            if metric.name in once:
                values = [once[metric.name]] * len(rounds)
            if values:
                figures[metric.name] = Statistic.of(values)
        return Measurement(
            subject=self.model.name,
            place=self.place.word,
            status=self._status,
            note=self._note,
            runtime=self._runtime,
            figures=figures,
            parity=self._parity,
            placement=self._structure.placement,
            timeline=self._timeline,
        )

    def _reading(self, figures: dict[str, float]) -> dict[str, float]:
        """What writing at the measured speed reads, from this round's ``figures``."""
        step = self.model.step
        found = {
            "step_table_bytes": step.table,
            "step_weights_bytes": step.weights,
            "step_cache_bytes": step.cache,
        }
        for _, length in self._grid:
            speed = figures.get(f"writing_{length}_tokens_s")
            if speed is None:
                continue
            read = step.after(length + (1 + self._job.tokens) / 2)  # in the mean of the tokens
            found[f"writing_{length}_read_bytes"] = read
            if "copy_bytes_s" in figures:
                share = read * speed / figures["copy_bytes_s"]
                found[f"writing_{length}_bandwidth_share"] = share
        return found

    def _advice(self) -> str:
        """Advice, if the bundle was exported for another target than this place."""
        made_for = self.model.manifest.target if self.model.manifest is not None else None
        if made_for is None or made_for == self.place.word or self.place.word == "arm64":
            return ""
        return f"; it was exported with `--target {made_for}`, try `--target {self.place.word}`"

    def _at(self, point: tuple[int, int], measure: str) -> Job:
        dimensions = self.model.dimensions(*point) if self.place.static else {}
        return replace(self._job, measure=measure, grid=(point,), dimensions=dimensions)

    def _every_point(self, measure: str) -> Iterator[Job]:
        """One job; where shapes have to be fixed at load, one a point."""
        if not self.place.static:
            yield replace(self._job, measure=measure)
            return
        for point in self._grid:
            yield self._at(point, measure)

    def _last_point(self, measure: str) -> Job:
        if self.place.static:
            return self._at(self._grid[-1], measure)
        return replace(self._job, measure=measure)

    def _add(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            # Where each point has a session of its own, load and first result are the first one's.
            self._rounds[-1] = outcome.answer.figures | self._rounds[-1]

    def _ask(
        self,
        launcher: Launcher,
        job: Job,
        *,
        watch: bool = False,
        must: bool = True,
    ) -> Outcome | None:
        if self._status not in (MEASURED, FUNCTION_ONLY):
            return None
        try:
            return launcher.run(self.place, job, watch=watch)
        except InputError as error:
            if must:
                self._end(FAILED, str(error))
            return None

    def _end(self, status: str, note: str) -> None:
        self._status, self._note = status, note
