"""A page in which a person tries a bundle: the files it needs, and a server for them."""

import errno
from dataclasses import dataclass
from pathlib import Path

from toolkit.bundle.late_interaction import keeps_token_vectors
from toolkit.bundle.manifest import read_manifest, verify_files
from toolkit.errors import InputError
from toolkit.json_text import json_text

from .file_server import Contents, FileServer
from .files import (
    CDN,
    CDN_ADDRESS,
    PROVIDERS,
    WEB,
    bundle_files,
    external_data,
    libraries_from,
    library_files,
    page_files,
)

PORT = 8025
_NEXT_PORTS = 20  # tried after :data:`PORT`, where nobody asked for one

_PAGES = {"text-generation": "write.html"}


@dataclass(frozen=True)
class Site:
    """All that is served; nothing else is ever opened.

    Attributes:
        files: by address, without the first slash; ``""`` is the page.
        settings: what ``settings.json`` says.
    """

    files: dict[str, Path]
    settings: dict[str, object]

    @property
    def libraries(self) -> str:
        """``local``, or ``cdn`` where the page loads them from :data:`.web.files.CDN_ADDRESS`."""
        return str(self.settings["libraries"])

    def headers(self) -> dict[str, str]:
        """Isolation, which threads need, and a policy that lets nothing out."""
        far = f" {CDN_ADDRESS}" if self.libraries == CDN else ""
        return {
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Embedder-Policy": "require-corp",  # the CDN's files may be embedded
            "Cross-Origin-Resource-Policy": "same-origin",
            "Content-Security-Policy": (
                f"default-src 'none'; script-src 'self' 'wasm-unsafe-eval' blob:{far}; "
                f"connect-src 'self' blob:{far}; worker-src 'self' blob:; style-src 'self'; "
                "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ),
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
        }


def open_site(bundle: Path, provider: str = "wasm") -> Site:
    """The page for a bundle folder; ``provider`` is chosen first, and the page can change it.

    Raises:
        FormatError: no bundle, or a damaged one.
        InputError: an unknown provider, or a model that no page is for.
    """
    if provider not in PROVIDERS:
        raise InputError(f"provider {provider!r} is unknown to browsers; use wasm or webgpu")
    manifest = read_manifest(bundle)
    if keeps_token_vectors(manifest.pooling):
        raise InputError(
            f"{bundle} is a ColBERT model, which no page is for; use `lighttoken run BUNDLE QUERY "
            "PASSAGE ...`"
        )
    verify_files(bundle, manifest)
    libraries = library_files()
    files = {
        "": WEB / "page" / _PAGES.get(manifest.task, "index.html"),
        **page_files(),
        **libraries,
        **bundle_files(bundle, manifest),
    }
    settings: dict[str, object] = {
        "name": bundle.resolve().name,
        "provider": provider,
        "libraries": libraries_from(libraries),
        "data": external_data(bundle, manifest),
    }
    return Site(files, settings)


class Server(FileServer):
    """Serves one :class:`Site`."""

    def __init__(self, site: Site, host: str, port: int) -> None:
        made = {"settings.json": json_text(site.settings).encode()}
        super().__init__(Contents(site.files, made, site.headers()), host, port)


def open_server(site: Site, host: str = "127.0.0.1", port: int | None = None) -> Server:
    """A server that listens; ``port`` None takes :data:`PORT` or a free one after it.

    Raises:
        InputError: the port is taken or not allowed, or this machine has no such host.
    """
    ports = range(PORT, PORT + _NEXT_PORTS) if port is None else (port,)
    for number in ports:
        try:
            return Server(site, host, number)
        except (OSError, OverflowError) as error:
            code = getattr(error, "errno", None)
            if code == errno.EADDRINUSE:
                continue
            raise InputError(
                f"{host}, port {number} cannot be listened on ({error}); choose others with "
                "--host and --port"
            ) from error
    taken = f"port {ports[0]} is" if len(ports) == 1 else f"ports {ports[0]} to {ports[-1]} are"
    raise InputError(f"{taken} taken; choose another with --port")
