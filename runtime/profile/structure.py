"""What one look at a running model tells of its nodes and of its embedding layer."""

from dataclasses import dataclass, field

from .graph import partitioned_graph, read_graph
from .job import Answer
from .layer import embedding_initializer_bytes, embedding_share, find_layer
from .placement import Placement, place_graph
from .places import Place
from .subjects import Model


@dataclass(frozen=True)
class Structure:
    """Where nodes run, and figures of which there is one a model, not one a round."""

    placement: Placement | None = None
    figures: dict[str, float] = field(default_factory=dict)


def examine(
    model: Model, place: Place, point: tuple[int, int], answer: Answer, *, native: bool
) -> Structure:
    """From the answer to the measure ``places``, taken at ``point`` of the grid.

    ``native``: whether the session had the native kernel.

    Raises:
        InputError: a graph that is not read here, as of ``.ort`` files.
        FormatError: a damaged model.
    """
    figures = dict(answer.figures)
    dimensions = model.dimensions(*point) if place.static else {}
    layer = find_layer(read_graph(model.path).graph, model.ids_input or None)
    share = embedding_share(answer.facts.get("profiled") or (), layer)
    if share is not None:
        figures[f"embedding_{point[0]}x{point[1]}_share"] = share
    with partitioned_graph(model.path, dimensions=dimensions, native=native) as graph:
        placement = place_graph(graph, answer.facts, place.provider)
        figures["embedding_initializer_bytes"] = float(embedding_initializer_bytes(graph, layer))
        figures["initializer_bytes"] = float(
            sum(v.const_value.nbytes for v in graph.initializers.values() if v.const_value)
        )
    return Structure(placement, figures)
