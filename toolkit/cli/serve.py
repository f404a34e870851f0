"""``lighttoken serve``: a page in which a person tries a bundle."""

import webbrowser
from pathlib import Path

import click

from toolkit.signals import Stopped

from .console import json_option, print_json, say

_EXAMPLE = """\b
Examples:
  lighttoken serve minilm
  lighttoken serve minilm --provider webgpu --port 9000
  lighttoken serve gemma
"""


@click.command(epilog=_EXAMPLE)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port of the page [default: 8025, or the next free one].",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Another than the default lets other machines in; their browsers "
    "give one thread and no WebGPU.",
)
@click.option(
    "--provider",
    type=click.Choice(["wasm", "webgpu"]),
    default="wasm",
    show_default=True,
    help="What runs the model first; the page can change it.",
)
@click.option(
    "--open/--no-open", "show", default=True, help="Open the page in a browser [default: --open]."
)
@json_option
def command(
    bundle: Path, port: int | None, host: str, provider: str, show: bool, as_json: bool
) -> None:
    """Try BUNDLE in a browser: see how alike sentences are, or what a decoder writes.

    The browser computes all of it with onnxruntime-web; what is typed never leaves it. Ends with
    Ctrl-C. With --json the address comes as JSON, once it can be opened.
    """
    from runtime.web.files import CDN
    from runtime.web.serve import open_server, open_site

    site = open_site(bundle, provider)
    with open_server(site, host, port) as server:
        try:
            if as_json:
                print_json({"address": server.address, "libraries": site.libraries})
            else:
                say(f"{bundle} is at {server.address}; Ctrl-C ends it")
            if site.libraries == CDN and not as_json:
                say("onnxruntime-web comes from cdn.jsdelivr.net; `lighttoken setup web` gets it")
            if show:
                webbrowser.open(server.address)
            server.serve_forever()
        except (KeyboardInterrupt, Stopped):
            if not as_json:
                say("ended")
