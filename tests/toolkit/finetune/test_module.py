import copy

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainingArguments,
)

from toolkit import Budget, compress
from toolkit import CompressedEmbedding as Packed
from toolkit.errors import InputError
from toolkit.finetune import CompressedEmbedding, CompressedHead, attach, detach

ROWS, WIDTH = 500, 32
METHODS = ("lighttoken", "lighttoken-paper", "direction", "svd", "svd-fp32")


def bert(kind=BertModel):
    return kind(
        BertConfig(
            vocab_size=ROWS,
            hidden_size=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
        )
    )


def gpt2():
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=ROWS, n_embd=WIDTH, n_layer=1, n_head=2, n_positions=64)
    )


def gemma():
    return Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=ROWS,
            hidden_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=64,
            head_dim=16,
        )
    )


def t5():
    return T5ForConditionalGeneration(
        T5Config(vocab_size=ROWS, d_model=WIDTH, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
    )


def bart():
    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=ROWS,
            d_model=WIDTH,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            scale_embedding=True,
        )
    )


MODELS = {
    "bert": bert,
    "bert-mlm": lambda: bert(BertForMaskedLM),
    "gpt2": gpt2,
    "gemma": gemma,
    "t5": t5,
    "bart": bart,
}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]().eval()


def table_of(model):
    return model.get_input_embeddings().weight.detach().numpy().copy()


def pack(table, ratio=4.0, method="lighttoken"):
    return compress(table, Budget(ratio=ratio), method=method)


def run(model):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, ROWS, (2, 7), generator=generator)
    feeds = {"input_ids": ids}
    if model.config.is_encoder_decoder:
        feeds["decoder_input_ids"] = ids
    return model(**feeds)[0]


@pytest.mark.parametrize("method", METHODS)
def test_layer_gives_the_rows_of_the_packed_table(method):
    packed = pack(np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32), 3, method)
    layer = CompressedEmbedding(packed)
    ids = torch.arange(ROWS).reshape(2, -1)
    np.testing.assert_allclose(layer(ids).detach(), packed.lookup(ids.numpy()), atol=1e-5)
    np.testing.assert_allclose(layer.dense(), packed.dense(), atol=1e-5)
    hidden = torch.randn(2, 3, WIDTH)
    np.testing.assert_allclose(
        layer.logits(hidden).detach(), packed.logits(hidden.numpy()), atol=1e-3
    )


def test_rows_of_zeros_stay_zeros_in_training():
    table = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
    table[[0, 9]] = 0
    layer = CompressedEmbedding(pack(table, 3))
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    layer(torch.arange(12)).square().sum().backward()
    optimizer.step()
    assert not layer(torch.tensor([0, 9])).any()
    again = layer.pack()
    assert not again.lookup([0, 9]).any()
    assert again.lookup(1).any()


@pytest.mark.parametrize("method", METHODS)
def test_untrained_layer_packs_to_the_same_rows_in_as_many_bytes(method):
    packed = pack(np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32), 3, method)
    again = CompressedEmbedding(packed).pack()
    assert again.nbytes == packed.nbytes
    np.testing.assert_allclose(again.dense(), packed.dense(), atol=2e-2 * packed.dense().std())


def test_attached_model_does_what_it_does_on_the_decoded_table(model):
    packed = pack(table_of(model))
    dense = copy.deepcopy(model)
    dense.get_input_embeddings().weight.data.copy_(torch.from_numpy(packed.dense()))
    attach(model, packed)
    torch.testing.assert_close(run(model), run(dense), atol=1e-5, rtol=1e-4)
    left = [name for name, value in model.named_parameters() if value.shape == (ROWS, WIDTH)]
    assert not left


def test_gradients_reach_all_that_the_codes_are_read_by(model):
    layer = attach(model, pack(table_of(model)))
    run(model).square().sum().backward()
    missing = [name for name, value in layer.named_parameters() if value.grad is None]
    assert not missing


def test_detached_model_has_a_dense_table_that_its_head_shares(model):
    kind = type(model.get_input_embeddings())
    attach(model, pack(table_of(model)))
    before = run(model)
    assert detach(model) is model
    torch.testing.assert_close(run(model), before, atol=1e-5, rtol=1e-4)
    assert type(model.get_input_embeddings()) is kind
    assert not any(isinstance(part, CompressedEmbedding) for part in model.modules())
    head = model.get_output_embeddings()
    if head is not None:
        assert head.weight is model.get_input_embeddings().weight


def test_detached_folder_loads_again(model, tmp_path):
    attach(model, pack(table_of(model)))
    before = run(model)
    detach(model).save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(run(again), before, atol=1e-5, rtol=1e-4)


def test_attached_model_saves_and_loads_its_state(model, tmp_path):
    packed = pack(table_of(model))
    layer = attach(model, packed)
    with torch.no_grad():
        layer.mean += 1.0
    torch.save(model.state_dict(), tmp_path / "state.pt")
    other = copy.deepcopy(detach(copy.deepcopy(model)))
    attach(other, packed)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    torch.testing.assert_close(run(other), run(model))


def test_training_lowers_a_loss_and_packs_to_as_many_bytes():
    torch.manual_seed(0)
    model = bert()
    packed = pack(table_of(model), ratio=6)
    layer = attach(model, packed)
    wanted = torch.randn(2, 7, WIDTH)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = (run(model.eval()) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    trained = layer.pack()
    assert trained.nbytes == packed.nbytes
    # What the rounding to int8 costs is small beside what training changed.
    moved = np.abs(layer.dense().numpy() - packed.dense()).mean()
    rounded = np.abs(layer.dense().numpy() - trained.dense()).mean()
    assert rounded < 0.2 * moved


def test_trainer_trains_and_its_checkpoint_loads(tmp_path):
    pytest.importorskip("accelerate")
    torch.manual_seed(0)
    model = bert(BertForMaskedLM)
    packed = pack(table_of(model))
    before = attach(model, packed).dense()
    ids = torch.arange(64).reshape(8, 8) + 3
    data = [{"input_ids": row, "labels": row} for row in ids]

    def trainer(of):
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=3,
            per_device_train_batch_size=4,
            learning_rate=1e-2,
            save_steps=3,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        return Trainer(of, arguments, train_dataset=data)

    trainer(model).train()
    after = model.get_input_embeddings().dense()
    assert not torch.equal(before, after)
    other = bert(BertForMaskedLM)
    attach(other, packed)
    trainer(other).train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    torch.testing.assert_close(other.get_input_embeddings().dense(), after)


@pytest.mark.parametrize("outside", [-1, ROWS, 2**32 + 5])
def test_ids_outside_the_table_are_refused_as_by_a_dense_layer(outside):
    values = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
    layer = CompressedEmbedding(pack(values))
    ids = torch.tensor([[0, outside]])
    for each in (layer, torch.nn.Embedding(ROWS, 4)):
        with pytest.raises(IndexError):
            each(ids)
    with pytest.raises(IndexError, match=f"token id {outside} is outside 0 .. {ROWS - 1}"):
        layer(ids)
    assert layer(ids[:, :0]).shape == (1, 0, layer.embedding_dim)


def test_compiles():
    torch.manual_seed(0)
    model = bert().eval()
    attach(model, pack(table_of(model)))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(run(compiled), run(model), atol=1e-5, rtol=1e-4)


def test_rows_have_the_type_that_the_model_has():
    model = bert().to(torch.bfloat16).eval()
    packed = pack(model.get_input_embeddings().weight.detach().float().numpy())
    attach(model, packed)
    assert run(model).dtype == torch.bfloat16


def test_any_module_will_do_and_may_name_its_table():
    packed = pack(np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32))
    model = nn.ModuleDict({"a": nn.Embedding(ROWS, WIDTH), "b": nn.Embedding(ROWS, WIDTH)})
    with pytest.raises(InputError, match="2 layers"):
        attach(model, packed)
    layer = attach(model, packed, name="b")
    assert model["b"] is layer
    assert isinstance(model["a"], nn.Embedding)
    with pytest.raises(InputError, match=r"no nn\.Embedding 'c'"):
        attach(model, packed, name="c")


def test_head_that_shares_the_table_keeps_its_bias():
    model = bert(BertForMaskedLM).eval()
    bias = model.get_output_embeddings().bias
    attach(model, pack(table_of(model)))
    head = model.get_output_embeddings()
    assert isinstance(head, CompressedHead)
    assert head.bias is bias


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (nn.Embedding(ROWS, WIDTH + 8), "pack the table of this model"),
        (nn.Embedding(ROWS, WIDTH, max_norm=1.0), "max_norm 1"),
    ],
)
def test_tables_that_do_not_fit_are_refused(table, message):
    model = bert()
    packed = pack(table_of(model))
    model.set_input_embeddings(table)
    with pytest.raises(InputError, match=message):
        attach(model, packed)


def test_layers_that_do_more_are_refused():
    class Noisy(nn.Embedding):
        def forward(self, ids):
            return super().forward(ids) + 1

    model = bert()
    packed = pack(table_of(model))
    model.set_input_embeddings(Noisy(ROWS, WIDTH))
    with pytest.raises(InputError, match="Noisy"):
        attach(model, packed)


def test_parameters_that_went_astray_are_named():
    packed = pack(np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32))
    layer = CompressedEmbedding(packed)
    with torch.no_grad():
        layer.mean[0] = torch.nan
    with pytest.raises(InputError, match="mean holds NaN"):
        layer.pack()


def test_packed_table_is_what_it_was_made_of(tmp_path):
    packed = pack(np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32))
    CompressedEmbedding(packed).pack().save(tmp_path / "table.lt")
    assert Packed.load(tmp_path / "table.lt").ratio == pytest.approx(packed.ratio)
