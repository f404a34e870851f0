"""The code that every row has: bytes that stand for latent values, read by one linear decoder.

Transform coding to start with: directions of the table's covariance, strongest first, a few to a
byte, each byte an entry of its subquantizer's codebook (a product quantiser in the principal
space; Jegou et al. 2011, Ge et al. 2013). Then everything is fitted to everything else: with D no
longer orthogonal the bytes of a row add up like those of an additive quantiser (Babenko &
Lempitsky 2014), so a row's bytes are searched one after another given the others, the decoder is
a least-squares problem with a closed form, and so are the codebooks. What makes it small is that
all bytes of a part share one codebook [256, k] and that a byte's share of the decoder is k rows
only.

The decoder is rounded to int8 *before* the codes are searched, so the codes make up for it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...allocate.allocation import Subquantizer
from ...table.matrix import row_blocks
from . import additive_codebooks
from .kmeans import ENTRIES, as_integers, kmeans, nearest
from .parallel import for_row_blocks, largest

_BLOCK_ROWS = 1024  # rows searched at a time: what a byte's choice touches stays in the cache
_RIDGE = 1e-4  # of the mean diagonal: keeps latents that never vary from blowing up
_TINY = 1e-12  # beside values near 1: lets even codes of nothing have a decoder
_CODEBOOK_ROWS = 8192  # rows that the codebooks are fitted on
_CODEBOOK_STEPS = 8  # of conjugate gradients
_INT8 = 127
_LEAST_METRIC = 1e-8  # of the largest eigenvalue: directions that do not matter can be inverted


@dataclass(frozen=True, eq=False)
class Space:
    """A linear map of rows to where plain distances are what is to be small: x -> x @ root.

    A decoder of least squares is the same wherever errors are measured, but codes are not, and
    integers are columns of the table's own. So codes are searched in the space, and decoders are
    rounded outside of it.

    Attributes:
        root: float [d, d], symmetric: a metric's square root.
        inverse: float [d, d], its inverse.
    """

    root: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, metric: Tensor) -> "Space":
        """The space of e -> e' M e, for a symmetric positive ``metric`` M [d, d]."""
        values, vectors = torch.linalg.eigh(metric.double())
        values = values.clamp_min(values.amax() * _LEAST_METRIC).sqrt()
        return cls(
            ((vectors * values) @ vectors.T).float(), ((vectors / values) @ vectors.T).float()
        )


@dataclass(eq=False)
class BaseCode:
    """A code in the making. ``codes`` uint8 [n, bytes] and all else change as it is fitted.

    Attributes:
        subquantizers: bytes and values to a byte of each subquantizer, in the order of the codes'
            columns.
        codebooks: float [256, k] for each subquantizer.
        decoder: float [latents, d], what its int8 form stands for.
        additive: of each subquantizer, whether its codebook's entries are sums of two of sixteen;
            of none where it is left out.
        space: where ``decoder`` and targets are, if not where decoders are stored.
    """

    subquantizers: tuple[Subquantizer, ...]
    codes: Tensor
    codebooks: list[Tensor]
    decoder: Tensor
    additive: tuple[bool, ...] = ()
    space: Space | None = None

    def __post_init__(self) -> None:
        self.additive = self.additive or (False,) * len(self.subquantizers)

    def latents(self, rows: slice) -> Tensor:
        """float [n, latents] of the rows' codes."""
        return torch.cat(
            [
                book[self.codes[rows, columns].long()].flatten(1)
                for book, columns in zip(
                    self.codebooks, subquantizer_columns(self.subquantizers), strict=True
                )
            ],
            dim=1,
        )

    def add_to(self, target: Tensor, factor: float, rows: int | None = None) -> None:
        """Add ``factor`` times what the codes stand for to the first rows of ``target``."""
        for block in row_blocks(len(self.codes) if rows is None else rows):
            target[block].addmm_(self.latents(block), self.decoder, alpha=factor)


def subquantizer_columns(subquantizers: Sequence[Subquantizer]) -> list[slice]:
    """The codes' columns of each subquantizer."""
    columns, start = [], 0
    for subquantizer in subquantizers:
        columns.append(slice(start, start + subquantizer.groups))
        start += subquantizer.groups
    return columns


def subquantizer_latents(subquantizers: Sequence[Subquantizer]) -> list[slice]:
    """The latents of each subquantizer, which are the decoder's rows."""
    latents, start = [], 0
    for subquantizer in subquantizers:
        latents.append(slice(start, start + subquantizer.groups * subquantizer.dimension))
        start += subquantizer.groups * subquantizer.dimension
    return latents


def start_code(
    target: Tensor,
    weights: Tensor,
    subquantizers: tuple[Subquantizer, ...],
    generator: torch.Generator,
    *,
    additive: bool = False,
    space: Space | None = None,
) -> BaseCode:
    """Directions by variance, a random rotation within each subquantizer, k-means for its codebook.

    ``target`` float [n, d] and ``weights`` float [n]; subquantizers that go beyond the d
    directions code what the earlier ones leave. ``additive`` codebooks hold sums of two of
    sixteen; not that of a byte alone, which names classes of rows.
    """
    residual = target.clone()
    additives = tuple(additive and subquantizer.groups > 1 for subquantizer in subquantizers)
    codes, books, used = [], [], target.shape[1]
    for subquantizer, sums in zip(subquantizers, additives, strict=True):
        size = subquantizer.groups * subquantizer.dimension
        if used + size > target.shape[1]:
            directions, used = _principal_directions(residual, weights), 0
        # The last byte may have values that no direction is left for.
        chosen = directions[used : used + size]
        used += size
        if (
            subquantizer.groups > 1
        ):  # a byte alone codes its directions as they are: classes of rows
            chosen = _random_rotation(len(chosen), generator).to(chosen) @ chosen
        values = residual @ chosen.T
        values /= _spread(values) if subquantizer.groups > 1 else _spread(values.flatten())
        if len(chosen) < size:
            values = torch.nn.functional.pad(values, (0, size - len(chosen)))
        values = values.reshape(len(target), subquantizer.groups, subquantizer.dimension)
        book = kmeans(values.reshape(-1, subquantizer.dimension), generator, additive=sums)
        subquantizer_codes = nearest(values.reshape(-1, subquantizer.dimension), book).reshape(
            values.shape[:2]
        )
        books.append(book)
        codes.append(subquantizer_codes)
        started = BaseCode((subquantizer,), subquantizer_codes, [book], residual[:0])
        started.decoder = _least_squares(started, residual, weights)
        started.add_to(residual, -1.0)
    code = BaseCode(subquantizers, torch.cat(codes, dim=1), books, residual[:0], additives, space)
    fit_decoder(code, target, weights)
    return code


def encode(target: Tensor, like: BaseCode) -> BaseCode:
    """New rows in the same code: nearest entries of their least-squares latents, to start with."""
    gram = like.decoder @ like.decoder.T
    gram.diagonal().add_(1e-2 * gram.diagonal().mean() + _TINY)
    reader = torch.linalg.solve(gram, like.decoder)  # latents = target @ reader.T
    codes = torch.empty(
        len(target),
        sum(p.groups for p in like.subquantizers),
        dtype=torch.uint8,
        device=target.device,
    )
    places = zip(
        like.subquantizers,
        like.codebooks,
        subquantizer_columns(like.subquantizers),
        subquantizer_latents(like.subquantizers),
        strict=True,
    )
    for subquantizer, book, columns, latents in places:
        for rows in row_blocks(len(target)):
            values = (target[rows] @ reader[latents].T).reshape(-1, subquantizer.dimension)
            codes[rows, columns] = nearest(values, book).reshape(-1, subquantizer.groups)
    return replace(like, codes=codes, codebooks=list(like.codebooks))


def search(code: BaseCode, target: Tensor, sweeps: int = 1) -> None:
    """Choose each byte anew given the others, all bytes of a row in turn, ``sweeps`` times.

    With r = x - z D the gain of an entry e for a byte whose decoder rows are D_g is
    2 <r + z_g D_g, e D_g> - |e D_g|^2. The products <r, D> are kept for all latents and updated
    from the Gram matrix D D^T, so a byte costs 256 k + k m operations a row, not 256 d.
    """
    gram = code.decoder @ code.decoder.T
    places = []
    for subquantizer, book, latents in zip(
        code.subquantizers, code.codebooks, subquantizer_latents(code.subquantizers), strict=True
    ):
        for start in range(latents.start, latents.stop, subquantizer.dimension):
            here = slice(start, start + subquantizer.dimension)
            places.append((book, here, ((book @ gram[here, here]) * book).sum(1) / 2))

    def search_rows(rows: slice) -> None:
        latents = code.latents(rows)
        products = target[rows] @ code.decoder.T - latents @ gram
        for _ in range(sweeps):
            for column, (book, here, half) in enumerate(places):
                wanted = products[:, here] + latents[:, here] @ gram[here, here]
                chosen = largest(torch.addmm(half, wanted, book.T, beta=-1))
                change = book[chosen] - latents[:, here]
                products.addmm_(change, gram[here], alpha=-1)
                latents[:, here] += change
                code.codes[rows, column] = chosen.to(torch.uint8)

    for_row_blocks(target, _BLOCK_ROWS, search_rows)


def fit_decoder(code: BaseCode, target: Tensor, weights: Tensor) -> None:
    """The decoder of least weighted squared error for the codes, as int8 can hold it."""
    code.decoder = _least_squares(code, target, weights)
    decoder = torch.cat([weight * scale for weight, scale in stored_decoders(code)])
    code.decoder = decoder if code.space is None else decoder @ code.space.root


def stored_decoders(code: BaseCode) -> list[tuple[Tensor, Tensor]]:
    """The decoder as it is stored, outside of the code's space: see :func:`quantise_columns`."""
    decoder = code.decoder if code.space is None else code.decoder @ code.space.inverse
    return quantise_columns(decoder, code.subquantizers)


def quantise_columns(
    decoder: Tensor, subquantizers: Sequence[Subquantizer]
) -> list[tuple[Tensor, Tensor]]:
    """Each subquantizer's decoder as integers, float [latents, d], and one scale a column, float
    [d].

    One scale a column, so that an integer product can be scaled once at its end.
    """
    found = []
    for latents in subquantizer_latents(subquantizers):
        scale = decoder[latents].abs().amax(dim=0).clamp_min(1e-30) / _INT8
        found.append((torch.round(decoder[latents] / scale), scale))
    return found


def fit_codebooks(
    code: BaseCode, target: Tensor, weights: Tensor, generator: torch.Generator
) -> None:
    """All subquantizers' codebooks by conjugate gradients on the least-squares problem they make.

    Codes and decoder stay as they are; a sample of the rows is enough for 256 k unknowns a
    subquantizer. Codebooks are brought back to unit spread, which the decoder's next fit makes up
    for.
    """
    sample = torch.randperm(len(target), generator=generator)[:_CODEBOOK_ROWS]
    sample = sample.sort().values.to(target.device)
    codes, weight = code.codes[sample].long(), weights[sample, None]
    places = [codes[:, columns] for columns in subquantizer_columns(code.subquantizers)]
    sizes = [subquantizer.groups * subquantizer.dimension for subquantizer in code.subquantizers]

    def decode(books: list[Tensor]) -> Tensor:
        values = [book[place].flatten(1) for book, place in zip(books, places, strict=True)]
        return torch.cat(values, dim=1) @ code.decoder

    def entries(unknowns: list[Tensor]) -> list[Tensor]:
        return [
            additive_codebooks.expand(u) if s else u
            for u, s in zip(unknowns, code.additive, strict=True)
        ]

    def gradient(residual: Tensor) -> list[Tensor]:
        pulls = torch.split(weight * residual @ code.decoder.T, sizes, dim=1)
        found = [
            torch.zeros_like(book).index_add_(0, place.flatten(), pull.reshape(-1, book.shape[1]))
            for book, place, pull in zip(code.codebooks, places, pulls, strict=True)
        ]
        return [
            additive_codebooks.collapse(g) if s else g
            for g, s in zip(found, code.additive, strict=True)
        ]

    books = code.codebooks
    residual = target[sample] - decode(books)
    steepest = gradient(residual)
    direction, slope = steepest, _dot(steepest, steepest)
    for _ in range(_CODEBOOK_STEPS):
        ways = entries(direction)
        moved = decode(ways)
        step = slope / (weight * moved * moved).sum().clamp_min(1e-30)
        books = [book + step * way for book, way in zip(books, ways, strict=True)]
        residual = residual - step * moved
        steepest = gradient(residual)
        new = _dot(steepest, steepest)
        ratio = new / slope.clamp_min(1e-30)
        direction = [s + ratio * way for s, way in zip(steepest, direction, strict=True)]
        slope = new
    code.codebooks = [book / book.pow(2).mean().sqrt().clamp_min(1e-30) for book in books]


def round_codebooks(code: BaseCode, peak: int) -> None:
    """Codebooks as integers up to ``peak``; the decoder takes their scales.

    Bytes keep their meaning but for rounding, which the next fit of the decoder sees.
    """
    rounded = []
    places = zip(
        code.codebooks,
        code.additive,
        subquantizer_columns(code.subquantizers),
        subquantizer_latents(code.subquantizers),
        strict=True,
    )
    for book, additive, columns, latents in places:
        counts = torch.bincount(code.codes[:, columns].flatten(), minlength=ENTRIES)
        whole, step = as_integers(book, counts, peak, additive=additive)
        rounded.append(whole)
        code.decoder[latents] *= step
    code.codebooks = rounded


def refine(
    code: BaseCode,
    target: Tensor,
    weights: Tensor,
    *,
    rounds: int,
    learn_codebooks: bool,
    generator: torch.Generator,
    on_round: Callable[[], None],
) -> None:
    """Alternate between codes, decoder and codebooks; each step lowers the error."""
    for done in range(rounds):
        if learn_codebooks and done % 2:
            fit_codebooks(code, target, weights, generator)
            fit_decoder(code, target, weights)
        search(code, target)
        fit_decoder(code, target, weights)
        on_round()


def _least_squares(code: BaseCode, target: Tensor, weights: Tensor) -> Tensor:
    """The decoder float [latents, d] that reads the codes as ``target`` with least error."""
    latents = sum(
        subquantizer.groups * subquantizer.dimension for subquantizer in code.subquantizers
    )
    blocks = ((code.latents(rows), target[rows], weights[rows]) for rows in row_blocks(len(target)))
    return least_squares(blocks, target.new_zeros(latents, target.shape[1]))


def least_squares(blocks: Iterable[tuple[Tensor, Tensor, Tensor]], zeros: Tensor) -> Tensor:
    """The D float [latents, d] of least weighted squared error of ``values @ D - target``.

    Args:
        blocks: some rows at a time: values float [n, latents], target float [n, d], weights
            float [n].
        zeros: of D's shape, type and device.
    """
    gram, moment = zeros.new_zeros(len(zeros), len(zeros)), zeros.clone()
    for values, target, weights in blocks:
        weighted = values * weights[:, None]
        gram.addmm_(weighted.T, values)
        moment.addmm_(weighted.T, target)
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean() + _TINY)
    return torch.linalg.solve(gram, moment)


def _principal_directions(residual: Tensor, weights: Tensor) -> Tensor:
    """Unit directions float [d, d], strongest first."""
    gram = residual.new_zeros(residual.shape[1], residual.shape[1])
    for rows in row_blocks(len(residual)):
        gram.addmm_((residual[rows] * weights[rows, None]).T, residual[rows])
    vectors: Tensor = torch.linalg.eigh(gram)[1]
    return vectors.flip(1).T


def _random_rotation(size: int, generator: torch.Generator) -> Tensor:
    rotation: Tensor = torch.linalg.qr(torch.randn(size, size, generator=generator))[0]
    return rotation


def _spread(values: Tensor) -> Tensor:
    """Standard deviation along the first dimension; 1 where nothing varies."""
    spread = values.std(dim=0, correction=0)
    return torch.where(spread > _TINY, spread, 1.0)


def _dot(left: list[Tensor], right: list[Tensor]) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()
