"""Names of a model in Markdown and in programs."""

import ast
import json

import pytest
from markdown_it import MarkdownIt

from toolkit.markdown import code, javascript, kotlin, prose, python, sentence, yaml

HOSTILE = [
    "plain/name-1.2_x",
    "a | b",
    "`code` ``more",
    "a\n\n# heading\n---\n```\nfence",
    '<img src=x onerror="alert(1)">',
    "[link](http://evil) ![image](x)",
    "*em* _em_ **strong** ~~gone~~ &amp; \\",
    "\x1b[31m\x07\u202e\u2028\udcff",
    "'\"\"\"'''\\\" $x ${y}",
    "",
    " spaces ",
    "`",
    "｜ü猫",
]


def rendered(text: str) -> list:
    """The tokens of a document whose table has this in a cell, flat."""
    table = f"# {text}\n\n| a | b |\n|---|---|\n| {text} | end |\n\nA paragraph: {text} ends.\n"
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return [one for token in parser.parse(table) for one in (token, *(token.children or ()))]


@pytest.mark.parametrize("write", [prose, sentence, code])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_or_code_and_nothing_else(write, name):
    tokens = rendered(write(name))
    kinds = {token.type for token in tokens}
    allowed = {"text", "text_special", "inline", *(["code_inline"] if write is not prose else [])}
    blocks = {f"{kind}_{end}" for kind in ("heading", "table", "thead", "tbody", "tr", "th", "td",
              "paragraph") for end in ("open", "close")}  # fmt: skip
    assert kinds <= allowed | blocks, kinds - allowed - blocks
    assert sum(token.type == "td_open" for token in tokens) == 2
    assert sum(token.type == "heading_open" for token in tokens) == 1


def test_a_usual_name_stays_as_it_is():
    assert (
        prose("sentence-transformers/all-MiniLM-L6_v2") == "sentence-transformers/all-MiniLM-L6_v2"
    )
    assert code("onnx/model.onnx") == "`onnx/model.onnx`"
    assert python("input_ids") == '"input_ids"'
    assert javascript("model.onnx") == '"model.onnx"'
    assert kotlin("model.onnx") == "model.onnx"
    assert yaml("fill-mask") == "fill-mask"
    assert sentence("`run` fills masks") == "`run` fills masks"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_literal_is_the_name_on_one_line(name):
    assert ast.literal_eval(python(name)) == name
    assert json.loads(javascript(name)) == name
    for literal in (python(name), javascript(name), kotlin(name), yaml(name)):
        assert literal.isprintable()
        assert "\n" not in literal
    assert "$" not in kotlin(name).replace(r"\$", "")
