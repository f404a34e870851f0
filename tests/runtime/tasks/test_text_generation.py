import numpy as np
import pytest

from exporters import export
from runtime import Sampling, open_pipeline, open_session
from runtime.tasks.chat import ChatTemplate
from toolkit import Budget
from toolkit.bundle.feeds import LOGITS_TO_KEEP, build_feeds
from toolkit.errors import InputError

ROWS, LIMIT = 300, 40


@pytest.fixture(scope="module")
def decoder(decoder_folder, quick, tmp_path_factory):
    """A decoder's folder and its bundle with a cache."""
    folder = decoder_folder("LlamaForCausalLM", LIMIT)
    bundle = tmp_path_factory.mktemp("decoder") / "bundle"
    export(str(folder), bundle, Budget(ratio=6), options=quick(with_past=True))
    return folder, bundle


@pytest.fixture(scope="module")
def pipeline(decoder):
    return open_pipeline(decoder[1], op=False)


def by_hand(bundle, ids, count):
    """Greedy tokens, all of the text read again for each, no cache and all logits."""
    session = open_session(bundle, op=False)
    ids = list(ids)
    for _ in range(count):
        feeds = build_feeds(session.inputs, "input_ids", np.array([ids]))
        logits = session.run(feeds, ["logits"])["logits"]
        assert logits.shape == (1, len(ids), ROWS)
        ids.append(int(logits[0, -1].argmax()))
    return tuple(ids[-count:])


def test_greedy_tokens_are_those_of_the_whole_text_read_again(pipeline, decoder):
    found = pipeline("w7 w9 w11", max_tokens=12)
    assert found.prompt_tokens == 4
    assert found.tokens == by_hand(decoder[1], [0, 7, 9, 11], 12)
    assert found.text.split() == [f"w{id_}" for id_ in found.tokens]
    assert not found.stopped
    assert found.tokens_per_second > 0


def test_only_the_last_logits_are_made(decoder):
    session = open_session(decoder[1], op=False)
    assert [v.name for v in session.raw.get_overridable_initializers()] == [LOGITS_TO_KEEP]
    feeds = build_feeds(session.inputs, "input_ids", np.array([[0, 7, 9, 11]]))
    whole = session.run(feeds, ["logits"])["logits"]
    for keep in (1, 3):
        some = session.raw.run(["logits"], feeds | {LOGITS_TO_KEEP: np.array(keep, np.int64)})[0]
        assert some.shape == (1, keep, ROWS)
        assert np.allclose(some, whole[:, -keep:], atol=1e-6)


def test_the_number_of_logits_is_given_where_it_must_be(decoder, pipeline, quick, tmp_path):
    options = quick(with_past=True, target="wasm")
    export(str(decoder[0]), tmp_path / "web", Budget(ratio=6), options=options)
    found = open_pipeline(tmp_path / "web", op=False)
    assert LOGITS_TO_KEEP in {info.name for info in found.session.inputs}
    assert found("w7 w9", max_tokens=8).tokens == pipeline("w7 w9", max_tokens=8).tokens


def test_pieces_add_up_to_the_text(pipeline):
    pieces = []
    found = pipeline("w7", max_tokens=10, on_text=pieces.append)
    assert len(pieces) > 5
    assert "".join(pieces) == found.text


def test_draws_follow_the_seed(pipeline):
    one, two, other = (
        pipeline("w7", Sampling(5.0, seed=seed), max_tokens=10).tokens for seed in (1, 1, 2)
    )
    assert one == two != other


def test_a_stop_text_ends_the_text_and_is_never_said(pipeline):
    whole = pipeline("w7", max_tokens=10)
    words = whole.text.split()
    pieces = []
    stop = " ".join(words[4:6])
    found = pipeline("w7", max_tokens=10, stop=[stop], on_text=pieces.append)
    assert found.stopped
    assert found.text == "".join(pieces) == whole.text[: whole.text.index(stop)]


def test_the_end_of_a_text_ends_it(pipeline):
    from dataclasses import replace

    whole = pipeline("w7", max_tokens=10)
    third = whole.tokens[3]
    found = replace(pipeline, ends=(third,))("w7", max_tokens=10)
    assert found.stopped
    assert found.tokens == whole.tokens[: whole.tokens.index(third)]


def test_text_ends_where_the_model_has_no_more_room(pipeline):
    assert len(pipeline("w7 w8", max_tokens=500).tokens) == LIMIT - 3


def test_a_chat_template_frames_the_prompt(pipeline):
    from dataclasses import replace

    template = ChatTemplate("{{ bos_token }} {{ messages[0]['content'] }} w5", {"bos_token": "w4"})
    chat = replace(pipeline, template=template)
    assert chat("w7", max_tokens=2).prompt_tokens == 3
    assert chat("w7", max_tokens=2, chat=False).prompt_tokens == 2
    refusing = replace(pipeline, template=ChatTemplate("{{ raise_exception('no') }}"))
    with pytest.raises(InputError, match=r"template refuses the prompt \(no\); try --no-chat"):
        refusing("w7")


@pytest.mark.parametrize(
    ("prompt", "options", "line"),
    [
        ("w7 " * 50, {}, "the prompt has 51 tokens and the model reads 40"),
        ("w7", {"max_tokens": 0}, "max_tokens must be at least 1, got 0"),
        ("w7", {"stop": [""]}, "an empty stop text would end every text"),
        ("w7", {"chat": True}, "no chat template; leave --chat out"),
    ],
)
def test_what_cannot_be_written_is_one_line(pipeline, prompt, options, line):
    with pytest.raises(InputError, match=line) as info:
        pipeline(prompt, **options)
    assert "\n" not in str(info.value)


def test_a_bundle_without_a_cache_is_refused(decoder, quick, tmp_path):
    export(str(decoder[0]), tmp_path / "b", Budget(ratio=6), options=quick())
    with pytest.raises(InputError, match=r"has no cache.*export it with --with-past"):
        open_pipeline(tmp_path / "b", op=False)
