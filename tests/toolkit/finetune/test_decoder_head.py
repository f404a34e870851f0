import pytest
import torch
from torch import nn

from toolkit import Budget, compress
from toolkit.errors import InputError
from toolkit.finetune.attach import attach
from toolkit.finetune.decoder_head import Head, body_of

IDS = torch.tensor([[1, 5, 9, 2, 7, 3, 4, 8, 6, 2]])
CONFIGS = {
    "LlamaForCausalLM": {},
    "Gemma3ForCausalLM": {"final_logit_softcapping": 2.0},
    "CohereForCausalLM": {"logit_scale": 0.25},
    "PhiForCausalLM": {},  # a bias
}
SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


def make(architecture, **more):
    import transformers

    kind = getattr(transformers, architecture)
    torch.manual_seed(0)
    model = kind(kind.config_class(**(SIZES | CONFIGS.get(architecture, {}) | more))).eval()
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        nn.init.normal_(model.get_output_embeddings().bias)
    return model


@pytest.mark.parametrize("architecture", CONFIGS)
def test_gives_the_models_own_logits_of_some_tokens(architecture):
    model = make(architecture)
    ids = torch.tensor([3, 59, 0])
    with torch.no_grad():
        wanted = model(input_ids=IDS).logits[0][:, ids]
        states = body_of(model)(input_ids=IDS).last_hidden_state[0]
        found = Head(model, IDS).logits(states, ids)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_a_packed_head_is_read_by_ids():
    model = make("LlamaForCausalLM", tie_word_embeddings=True)
    head = Head(model, IDS)
    table = model.get_input_embeddings().weight.detach().numpy()
    packed = compress(table, Budget(ratio=3), method="svd")
    attach(model, packed)
    hidden, ids = torch.randn(4, 32), torch.tensor([3, 59, 0])
    found = head.of(model).logits(hidden, ids)
    assert torch.allclose(found, hidden @ torch.from_numpy(packed.lookup(ids.numpy())).T, atol=1e-4)


def test_a_head_that_does_something_else_is_refused():
    model = make("LlamaForCausalLM")
    plain = model.forward

    def odd(*args, **named):
        found = plain(*args, **named)
        found.logits = found.logits.abs()
        return found

    model.forward = odd
    with pytest.raises(InputError, match="more with its output head"):
        Head(model, IDS)
