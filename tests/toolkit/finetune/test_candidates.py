import torch

from toolkit.finetune.candidates import Candidates, Teacher, ask_teacher
from toolkit.finetune.decoder_head import body_of


def teacher(rows, texts=4, length=6, width=8, likeliest=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(rows, generator=generator) ** 4
    return Teacher(
        torch.randn(texts, length, width, generator=generator).half(),
        (2,),
        torch.zeros(texts, 1, length, width),
        torch.randint(rows, (texts, length, likeliest), generator=generator).int(),
        shares / shares.sum(),
    )


def draw(found, texts=(0, 1), seed=0):
    return Candidates.draw(found, torch.tensor(texts), torch.Generator().manual_seed(seed))


def test_a_small_vocabulary_is_compared_whole():
    found = draw(teacher(100))
    assert torch.equal(found.ids, torch.arange(100))
    assert (found.offsets == 0).all()
    given, got = torch.randn(5, 100), torch.randn(5, 100)
    wanted = torch.nn.functional.kl_div(
        got.log_softmax(-1), given.log_softmax(-1), log_target=True, reduction="batchmean"
    )
    assert torch.allclose(found.divergence(given, got), wanted, atol=1e-6)


def test_the_likeliest_tokens_are_always_there():
    known = teacher(60_000)
    found = draw(known, texts=(1, 3))
    wanted = known.likeliest[[1, 3]].unique().long()
    held = torch.isin(wanted, found.ids)
    assert held.all()
    assert found.offsets[torch.isin(found.ids, wanted)].abs().max() == 0
    assert 2_000 < int((found.offsets > -1e6).sum()) < 12_000


def test_numbers_of_candidates_are_few_and_what_fills_up_counts_nothing():
    known = teacher(60_000)
    drawn = [draw(known, seed=seed) for seed in range(6)]
    assert {len(found.ids) % 4096 for found in drawn} == {0}
    assert len({len(found.ids) for found in drawn}) < len(drawn)
    found = drawn[0]
    given, real = torch.randn(3, len(found.ids)), found.offsets > -1e6
    assert not real.all()
    short = Candidates(found.ids[real], found.offsets[real])
    got = given + 0.3 * torch.randn(given.shape)
    wanted = short.divergence(given[:, real], got[:, real])
    assert torch.allclose(found.divergence(given, got), wanted)


def test_equal_models_are_0_apart_and_others_as_far_as_over_all_tokens():
    known = teacher(60_000)
    given = torch.randn(3, 60_000)
    got = given + 0.3 * torch.randn(3, 60_000)
    whole = Candidates(torch.arange(60_000), torch.zeros(60_000))
    wanted = float(whole.divergence(given, got))
    estimates = []
    for seed in range(8):
        some = draw(known, seed=seed)
        assert float(some.divergence(given[:, some.ids], given[:, some.ids])) == 0
        estimates.append(float(some.divergence(given[:, some.ids], got[:, some.ids])))
    assert abs(sum(estimates) / 8 - wanted) < 0.05 * wanted


def test_the_teacher_says_what_it_thinks_likeliest(tiny_model):
    model = tiny_model("LlamaForCausalLM")
    texts = torch.randint(2, 60, (3, 9))
    head = model.get_output_embeddings().weight
    found = ask_teacher(body_of(model), head, texts)
    with torch.no_grad():
        logits = model(input_ids=texts).logits
        states = body_of(model)(input_ids=texts).last_hidden_state
    assert torch.allclose(found.hidden.float(), states, atol=1e-2)
    with torch.no_grad():
        between = body_of(model)(input_ids=texts, output_hidden_states=True).hidden_states
    assert found.layers == (1, 2)
    for at, layer in enumerate(found.layers):
        near = torch.isclose(found.between[:, at].float(), between[layer], rtol=0.02, atol=0.02)
        assert near.all()
    first = found.likeliest[:, :, 0].long()
    assert (logits.gather(2, first[:, :, None])[..., 0] >= logits.max(-1).values - 0.05).all()
    assert abs(float(found.probabilities.sum()) - 1) < 1e-5
