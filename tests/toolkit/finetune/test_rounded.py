import numpy as np
import pytest
import torch
from torch import nn

from toolkit.finetune.rounded import RoundedLinear, attach_rounded
from toolkit.rounding import round_to_nearest


def linear(columns=50, rows=7, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(columns, rows)


def rounded(layer, bits=4, group_size=16):
    return round_to_nearest(layer.weight.detach().numpy(), bits=bits, group_size=group_size)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("memory", [0.0, 0.9, 1.0])
def test_begins_with_the_matrix_as_it_is_stored(bits, memory):
    layer = linear()
    stored = rounded(layer, bits)
    own = RoundedLinear(layer, stored, memory)
    assert torch.equal(own.weight, torch.from_numpy(stored.dense()))
    packed = own.pack()
    assert (packed.codes == stored.codes).all()
    assert (packed.scales == stored.scales).all()
    inputs = torch.randn(3, 50)
    dense = torch.from_numpy(stored.dense())
    assert torch.allclose(own(inputs), inputs @ dense.T + layer.bias, atol=1e-6)


def test_packs_what_it_computes_with_after_training():
    """Codes and scales have both moved, and no number lies between two codes."""
    layer = linear()
    own = RoundedLinear(layer, rounded(layer))
    inputs, wanted = torch.randn(64, 50), torch.randn(64, 7)
    optimizer = torch.optim.Adam([own.positions, own.factors], lr=0.05)
    before = own.pack()
    losses = []
    for _ in range(30):
        loss = (own(inputs) - wanted).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = own.pack()
    assert losses[-1] < losses[0]
    assert (after.codes != before.codes).any()
    assert not np.allclose(after.scales, before.scales)
    assert after.codes.max() <= 15
    assert after.packed().nbytes == before.packed().nbytes
    assert torch.equal(torch.from_numpy(after.dense()), own.weight.detach())


def test_names_of_layers_lead_to_them():
    model = nn.Sequential(nn.Sequential(linear()), nn.ReLU())
    stored = rounded(model[0][0])
    layers = attach_rounded(model, {"0.0": stored})
    assert layers == {"0.0": model[0][0]}
    assert isinstance(model[0][0], RoundedLinear)
