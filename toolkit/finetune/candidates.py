"""What a decoder expects next, learnt from a part of a large vocabulary.

A distribution over 262,144 tokens at each of some thousand positions is gigabytes a step. So it is
compared over candidates: the tokens that the original thinks likeliest at any position of the step,
and a sample of all others. A sampled token of inclusion probability q stands for 1 / q of its kind
(Horvitz and Thompson 1952), which adds -log q to its logit, the same to both models' (sampled
softmax: Jean et al., ACL 2015, section 3). So the divergence is 0 exactly where both models agree,
whatever was drawn.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..progress import Progress
from .batches import fast_products

_LIKELIEST = 32  # tokens of each position that are always candidates
_SAMPLED = 8192  # others, about
_EQUAL = 0.3  # share of the sample that all tokens have alike; the rest by mean probability
_TEXTS = 8  # read at once
_EVERY = 4  # positions: one in so many tells the mean probabilities
_LAYERS = 6  # whose states are kept, evenly spaced and the last among them
_ROUND = 4096  # numbers of candidates are filled up to: what is made for a shape serves again
_NEVER = -1e9  # the logit of what only fills up


@dataclass(frozen=True, eq=False)
class Teacher:
    """What the original made of some texts; all that its distributions can be told from.

    Attributes:
        hidden: what the output head multiplied, float16 [texts, length, d].
        layers: which hidden states of transformers' are kept, as indices into them.
        between: those states, bfloat16 [texts, layers, length, d].
        likeliest: ids, int32 [texts, length, 32].
        probabilities: mean probability of each token, float [V], sum 1.
    """

    hidden: Tensor = field(repr=False)
    layers: tuple[int, ...]
    between: Tensor = field(repr=False)
    likeliest: Tensor = field(repr=False)
    probabilities: Tensor = field(repr=False)


@torch.no_grad()
def ask_teacher(
    body: Any, head: Tensor, texts: Tensor, *, progress: Progress | None = None
) -> Teacher:
    """Run a decoder over ``texts`` int64 [n, length], unpadded.

    Args:
        body: gives ``last_hidden_state`` float [n, length, d], and the states between layers.
        head: the output head's matrix, float [V, d].
        texts: to read.
        progress: told how far the work is.
    """
    fast = head.to(torch.bfloat16)  # to rank tokens is not to tell their probabilities
    hidden, between, likeliest = [], [], []
    layers: tuple[int, ...] = ()
    probabilities = torch.zeros(len(head))
    for start in range(0, len(texts), _TEXTS):
        batch = texts[start : start + _TEXTS]
        with fast_products(body):
            found = body(input_ids=batch, use_cache=False, output_hidden_states=True)
        layers = layers or _spread(len(found.hidden_states) - 1)
        between.append(torch.stack([found.hidden_states[at] for at in layers], 1).bfloat16())
        states = found.last_hidden_state
        for text in states:
            logits = text.to(torch.bfloat16) @ fast.T
            likeliest.append(logits.topk(min(_LIKELIEST, len(head))).indices.int())
            probabilities += logits[::_EVERY].float().softmax(-1).sum(0)
        hidden.append(states.half())
        if progress is not None:
            progress((start + len(batch)) / len(texts), "asking the original what comes next")
    return Teacher(
        torch.cat(hidden),
        layers,
        torch.cat(between),
        torch.stack(likeliest),
        probabilities / probabilities.sum(),
    )


def _spread(layers: int) -> tuple[int, ...]:
    """At most :data:`_LAYERS` of 1 .. ``layers``."""
    count = min(_LAYERS, layers)
    return tuple(round(layers * (at + 1) / count) for at in range(count))


@dataclass(frozen=True, eq=False)
class Candidates:
    """Tokens that a step compares the distributions over.

    Attributes:
        ids: int64 [n].
        offsets: what is added to the logits of both models, float [n].
    """

    ids: Tensor
    offsets: Tensor

    @classmethod
    def draw(cls, teacher: Teacher, texts: Tensor, generator: torch.Generator) -> "Candidates":
        """For the positions of ``texts``, indices int64 [n] into the teacher's."""
        rows = len(teacher.probabilities)
        shares = (1 - _EQUAL) * teacher.probabilities + _EQUAL / rows
        inclusion = (_SAMPLED * shares).clamp_max(1.0)
        chosen = torch.rand(rows, generator=generator) < inclusion
        always = torch.unique(teacher.likeliest[texts]).long()
        inclusion[always], chosen[always] = 1.0, True
        ids = chosen.nonzero()[:, 0]
        filling = -len(ids) % min(_ROUND, rows)
        return cls(
            functional.pad(ids, (0, filling)),
            functional.pad(-inclusion[ids].log(), (0, filling), value=_NEVER),
        )

    def divergence(self, given: Tensor, got: Tensor) -> Tensor:
        """Mean Kullback-Leibler divergence in nats of a student from its teacher, a scalar.

        Args:
            given: the teacher's logits of the candidates, float [positions, n].
            got: the student's.
        """
        wanted = (given + self.offsets).log_softmax(-1)
        found = (got + self.offsets).log_softmax(-1)
        return (wanted.exp() * (wanted - found)).sum(-1).mean()
