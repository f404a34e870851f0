"""A chat template is a program from anyone: it makes a text of some length, or is refused."""

import json
import resource
import sys

import psutil
import pytest

from runtime.tasks.chat import ChatTemplate, chat_template
from toolkit.errors import InputError


def test_a_usual_one():
    source = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    )
    assert ChatTemplate(source, {"eos_token": "</s>"}).user_turn("hi\n") == "<|user|>hi\n</s>"


def test_the_file_before_the_settings(tmp_path):
    assert chat_template(tmp_path) is None
    told = {"chat_template": "a", "bos_token": {"content": "<s>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told))
    assert chat_template(tmp_path) == ChatTemplate("a", {"bos_token": "<s>"})
    (tmp_path / "chat_template.jinja").write_text("b")
    assert chat_template(tmp_path).source == "b"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ messages.append(1) }}",
        "{{ lipsum(n=1000000) }}",
        "{{ 1 // 0 }}",
        "{{ 'a' * 10 ** 20 }}",
        "{% for i in range(10 ** 9) %}a{% endfor %}",
        "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ raise_exception('no\nroles') }}",
        "{% endfor %}",
        "{{ messages[0].none.none }}",
        "{{ 'a' | unheard }}",
    ],
)
def test_what_is_refused(source):
    with pytest.raises(InputError, match="the chat template refuses the prompt") as error:
        ChatTemplate(source).user_turn("hi")
    assert "\n" not in str(error.value)


def test_functions_do_not_give_what_is_behind_them():
    assert ChatTemplate("{{ strftime_now.__globals__ }}").user_turn("hi") == ""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited there alone")
@pytest.mark.parametrize(
    "doubles",
    [
        "{% set n.x = n.x ~ n.x %}",
        "{% set n.x = n.x + n.x %}",
        "{% set n.x = [n.x, n.x] | join %}",
        "{% set n.x = n.x * 2 %}",
    ],
)
def test_a_template_that_doubles_a_text_has_no_memory_left(doubles):
    """Forty times: a terabyte."""
    source = f"{{% set n = namespace(x='ab') %}}{{% for _ in range(40) %}}{doubles}{{% endfor %}}"
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(
        InputError, match=r"the chat template refuses the prompt \(.*; try --no-chat"
    ):
        ChatTemplate(source).user_turn("hi")
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert psutil.Process().memory_info().rss < 4 << 30
