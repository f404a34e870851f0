"""Serves this folder to browsers: ``python serve.py [PORT]``. Needs Python and nothing else."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # where an isolated Python does not look
from file_server import Contents, FileServer  # type: ignore[import-not-found]  # noqa: E402

PAGE = "measure.html"
PORT = 8026
HEADERS = {  # that threads and the page's memory need
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
}


def main() -> None:
    """Serve to this machine until Ctrl-C."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else PORT
    files = {
        path.relative_to(HERE).as_posix(): path
        for path in HERE.rglob("*")
        if path.is_file() and path.resolve().is_relative_to(HERE)
    }
    contents = Contents({**files, "": HERE / PAGE}, headers=HEADERS)
    with FileServer(contents, "127.0.0.1", port) as server:
        print(f"{server.address}{PAGE}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("ended")


if __name__ == "__main__":
    main()
