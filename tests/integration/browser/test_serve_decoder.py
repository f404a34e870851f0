"""The page of ``lighttoken serve`` for a decoder, in headless Chromium."""

import json
import re
import shutil
import threading
from contextlib import contextmanager

import pytest

from exporters import export
from runtime import open_pipeline
from runtime.web.serve import open_server, open_site
from toolkit import Budget
from toolkit.bundle.manifest import manifest_digest
from toolkit.files import sha256

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("need_browser")]

PROMPT = "w7 w9 w11 w200"
VARIED = "w20 w30 w40 w50"  # these models write many tokens after it
LIMIT, MOST = 40, 24
SAME = 8  # tokens that WebGPU has to write as the CPU does
TEMPLATE = (
    "{{ bos_token }} w5 {{ messages[0]['content'] }}\n{% if add_generation_prompt %} w6{% endif %}"
)
GPU = [
    "--enable-unsafe-webgpu",
    "--enable-features=Vulkan",
    "--use-webgpu-adapter=swiftshader",
    "--use-vulkan=swiftshader",
]
READY = 'await page.waitForSelector("#write:enabled, #status.bad", { timeout: 120000 });'
WRITE = """
    await page.click("#write");
    await page.waitForSelector("#write:enabled", { timeout: 120000 });
"""
SHOWN = """
    return page.evaluate(() => Object.fromEntries(
      ["status", "asked", "written", "summary", "first", "rate", "memory", "memory-note", "runtime"]
        .map((id) => [id, document.getElementById(id).textContent])));
"""


@pytest.fixture(scope="module")
def decoder(decoder_folder, quick, tmp_path_factory):
    """``decoder(architecture, target)``: a bundle with a cache, of random weights."""
    made = {}

    def make(architecture, target, **options):
        key = (architecture, target, *options.items())
        if key not in made:
            out = tmp_path_factory.mktemp("bundles") / "bundle"
            asked = quick(**{"with_past": True, "target": target, **options})
            export(str(decoder_folder(architecture, LIMIT)), out, Budget(ratio=6), options=asked)
            made[key] = out
        return made[key]

    return make


@contextmanager
def served(site):
    with open_server(site, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.address
        finally:
            server.shutdown()
            thread.join()


def fill(**values):
    """Type into the page's controls, by their ids."""
    return "".join(
        f"await page.fill({json.dumps('#' + name.replace('_', '-'))}, {json.dumps(str(value))});\n"
        for name, value in values.items()
    )


def write(look, folder, provider="wasm", before="", flags=(), **values):
    """What the page shows after writing."""
    with served(open_site(folder, provider)) as address:
        seen = look(address, READY + fill(**values) + before + WRITE + SHOWN, flags=flags)
    assert seen.errors == []
    return seen.found


@pytest.mark.parametrize(
    ("architecture", "target"),
    [
        ("Gemma3ForCausalLM", "wasm"),
        ("LlamaForCausalLM", "wasm"),
        ("LlamaForCausalLM", "cpu"),  # whose graph gives all logits where it is not asked
    ],
)
def test_greedy_text_is_that_of_run(look, decoder, architecture, target):
    folder = decoder(architecture, target)
    wanted = open_pipeline(folder, op=False)(VARIED, max_tokens=MOST)
    assert len(set(wanted.tokens)) > 5
    found = write(look, folder, prompt=VARIED, max_tokens=MOST)
    assert found["status"] == ""
    assert found["written"] == wanted.text
    assert found["asked"] == VARIED
    told = f"{wanted.prompt_tokens} tokens read, {len(wanted.tokens)} written:"
    assert found["summary"].startswith(told)
    assert re.fullmatch(r"[\d.]+", found["rate"])
    assert re.fullmatch(r"[\d.]+ m?s", found["first"])
    assert found["memory-note"].startswith("WASM heap above the bare runtime's")


@pytest.mark.parametrize("architecture", ["Gemma3ForCausalLM", "LlamaForCausalLM"])
def test_greedy_text_of_webgpu_is_that_of_run(look, decoder, architecture):
    folder = decoder(architecture, "webgpu")
    wanted = open_pipeline(folder, op=False)(PROMPT, max_tokens=MOST)
    found = write(look, folder, "webgpu", flags=GPU, prompt=PROMPT, max_tokens=MOST)
    assert "webgpu on" in found["runtime"]
    # Sums in another order: of two tokens that a random model holds for as likely the other may
    # come, and another text after it.
    assert found["written"].split()[:SAME] == wanted.text.split()[:SAME]
    assert len(found["written"].split()) == len(wanted.text.split())


@pytest.mark.parametrize("architecture", ["Gemma3ForCausalLM", "LlamaForCausalLM"])
def test_a_long_prompt_is_read_in_parts(look, decoder, tmp_path, architecture):
    """Where a graph gives the logits of all tokens, few are read at once."""
    folder = decoder(architecture, "cpu")
    site = open_site(folder)
    script = site.files["web/page/decoder.mjs"].read_text()
    small = tmp_path / "decoder.mjs"
    small.write_text(script.replace("LOGITS_BYTES = 64e6", "LOGITS_BYTES = 2 * 4 * 300"))
    assert small.read_text() != script
    site.files["web/page/decoder.mjs"] = small
    prompt = " ".join(f"w{3 * i}" for i in range(1, 20))
    wanted = open_pipeline(folder, op=False)(prompt, max_tokens=8)
    with served(site) as address:
        script = READY + fill(prompt=prompt, max_tokens=8) + WRITE + SHOWN
        found = look(address, script).found
    assert found["written"] == wanted.text


def test_text_ends_where_the_model_has_no_more_room(look, decoder):
    found = write(look, decoder("LlamaForCausalLM", "wasm"), prompt="w7 w8", max_tokens=500)
    assert found["summary"] == (
        f"3 tokens read, {LIMIT - 3} written: as many as were asked for or fit."
    )


def test_draws_follow_the_seed_and_top_1_is_greedy(look, decoder):
    folder = decoder("LlamaForCausalLM", "wasm")
    wanted = open_pipeline(folder, op=False)(PROMPT, max_tokens=8).text
    script = READY + fill(prompt=PROMPT, max_tokens=8, temperature=5)
    for seed in (1, 1, 2):
        script += fill(seed=seed) + WRITE + 'texts.push(await page.innerText("#written"));'
    script += fill(top_k=1) + WRITE + 'texts.push(await page.innerText("#written"));'
    with served(open_site(folder)) as address:
        one, again, other, top = look(address, f"const texts = []; {script} return texts;").found
    assert one == again != other
    assert top == wanted


def test_the_chat_template_frames_the_prompt(look, decoder, tmp_path):
    folder = with_template(decoder("LlamaForCausalLM", "wasm"), tmp_path / "bundle")
    pipeline = open_pipeline(folder, op=False)
    framed, plain = (pipeline(PROMPT, max_tokens=8, chat=chat) for chat in (True, False))
    assert framed.prompt_tokens != plain.prompt_tokens
    assert write(look, folder, prompt=PROMPT, max_tokens=8)["written"] == framed.text
    off = 'await page.uncheck("#chat");'
    assert write(look, folder, before=off, prompt=PROMPT, max_tokens=8)["written"] == plain.text
    refusing = with_template(
        folder, tmp_path / "refusing", "{{ raise_exception('only in Latin') }}"
    )
    found = write(look, refusing, prompt=PROMPT)
    assert found["status"] == ("the chat template refuses the prompt (only in Latin); leave it out")


def with_template(folder, out, template=TEMPLATE):
    """A copy of a bundle whose tokenizer has a chat template."""
    shutil.copytree(folder, out)
    path = out / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template}))
    manifest = json.loads((out / "lighttoken.json").read_text())
    manifest["files"][path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    del manifest["digest"]
    sealed = manifest | {"digest": manifest_digest(manifest)}
    (out / "lighttoken.json").write_text(json.dumps(sealed))
    return out


def test_stop_ends_the_text(look, decoder):
    # Pressed as soon as there is some text, and 30 tokens take no time: no mouse is so quick.
    press = """
        await page.evaluate(() =>
          new MutationObserver(() => document.getElementById("stop").click())
            .observe(document.getElementById("written"), { childList: true, characterData: true }));
    """
    folder = decoder("LlamaForCausalLM", "wasm")
    with served(open_site(folder)) as address:
        script = READY + fill(prompt=PROMPT, max_tokens=30) + press + WRITE + SHOWN
        found = look(address, script).found
    assert re.fullmatch(r"5 tokens read, [1-3] written: stopped\.", found["summary"])


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"prompt": "w7 " * 50}, "the prompt has 51 tokens and the model reads 40"),
        ({"max_tokens": 0}, "max tokens must be a whole number of at least 1, got 0"),
        ({"max_tokens": ""}, "max tokens must be a whole number of at least 1, got no number"),
        ({"temperature": -1}, "temperature must be at least 0, got -1"),
        ({"top_k": -3}, "top-k must be a whole number of at least 0, got -3"),
        ({"seed": 1.5}, "seed must be a whole number of at least 0, got 1.5"),
    ],
)
def test_what_is_out_of_range_is_one_line(look, decoder, values, line):
    folder = decoder("LlamaForCausalLM", "wasm")
    with served(open_site(folder)) as address:
        script = READY + fill(**values) + WRITE + 'return page.innerText("#status.bad");'
        assert look(address, script).found.startswith(line)


def test_without_a_cache_the_page_says_what_to_do(look, decoder):
    folder = decoder("LlamaForCausalLM", "wasm", with_past=False)
    with served(open_site(folder)) as address:
        seen = look(address, f'{READY} return page.innerText("#status");')
    assert "has no cache" in seen.found
    assert "--with-past" in seen.found
    assert not any("model.onnx" in asked for asked in seen.asked)
