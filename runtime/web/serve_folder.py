"""Serves this folder to browsers: ``python serve.py [PORT]``. Needs Python and nothing else."""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = "measure.html"
PORT = 8026


class Handler(SimpleHTTPRequestHandler):
    """With the headers that threads and the page's memory need."""

    extensions_map = {  # noqa: RUF012 (http.server's own form)
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        """The file's headers and ours."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve to this machine until Ctrl-C."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else PORT
    with ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=str(HERE))) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/{PAGE}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("ended")


if __name__ == "__main__":
    main()
