"""Files over HTTP to browsers, with Python alone: it also goes into folders that measure elsewhere.

What is served is named once, and nothing else is ever opened. Python's server parses requests; here
is what it leaves open: which hosts it answers for, how long a request may take, how many at once.
"""

import contextlib
import io
import os
import re
import socket
import socketserver
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv6Address, ip_address
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}
_BYTES = "application/octet-stream"
_ALLOWED = ("GET", "HEAD")
_HERE = ("localhost", "127.0.0.1", "::1")
_EVERY = ("0.0.0.0", "::", "")  # addresses that stand for all of a machine's
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+))(?::([0-9]{1,5}))?", re.IGNORECASE)
_HTTP_PORT = 80  # the one that a Host header may leave out

_PIECE = 1 << 18  # bytes sent at a time
_STALLED_S = 5.0  # without a piece sent; then an answer may be ended to make room
_UNREAD_S, _UNREAD_BYTES = 1.0, 1 << 20  # of what a client still sends to a closed connection
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Contents:
    """All that is served.

    Attributes:
        files: by address, without the first slash; ``""`` is the page.
        made: contents that are in no file, likewise.
        headers: that go with every answer.
    """

    files: Mapping[str, Path]
    made: Mapping[str, bytes] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _State:
    """What a connection does: ``answering`` or waiting for a request, and since when."""

    since: float
    answering: bool = False


class FileServer(socketserver.ThreadingMixIn, HTTPServer):
    """Serves :class:`Contents` at ``host`` and ``port``, each connection in a thread.

    It answers for the hosts that :meth:`answers_for` knows. A connection on which no whole request
    head came within ``head_s`` seconds is closed, and so is one that takes no bytes for ``send_s``.
    Where ``most`` are open, a new one ends the one that waited longest.
    """

    daemon_threads = True
    request_queue_size = 512  # many downloads may start at once
    # On Windows it would let two servers share a port.
    allow_reuse_address = os.name == "posix"

    head_s = 10.0
    send_s = 30.0
    most = 256

    def __init__(self, contents: Contents, host: str, port: int) -> None:
        self.contents, self.host = contents, host
        # Where links lead is settled now: one that comes later is not followed.
        self.places = {name: path.resolve() for name, path in contents.files.items()}
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._open: dict[Any, _State] = {}
        self._lock = Lock()
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Without asking for the machine's name, which may take seconds and is not needed."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, int(self.server_address[1])

    @property
    def address(self) -> str:
        """As a browser on this machine writes it."""
        host = str(self.server_address[0])
        if host in _EVERY:
            host = "::1" if ":" in host else "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"

    def answers_for(self, host: str, reached: str) -> bool:
        """Whether ``host``, of a Host header, is where this server is, and not a foreign name.

        A page of another name whose address was turned to this machine (DNS rebinding) would
        otherwise read what is served. Known are localhost, the address or name listened on, and
        of a server that listens on all addresses the one ``reached`` and the machine's name; each
        with the port.
        """
        found = _HOST.fullmatch(host)
        if found is None or int(found[3] or _HTTP_PORT) != self.server_port:
            return False
        known = [*_HERE, self.host, str(self.server_address[0])]
        if self.host in _EVERY:
            name = socket.gethostname()
            known += [reached, name, f"{name.partition('.')[0]}.local"]
        return _plain(found[1] or found[2]) in {_plain(one) for one in known if one}

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, if there is room or can be made."""
        if not self._admit(request):
            with contextlib.suppress(OSError):
                request.setblocking(False)
                request.send(_FULL)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def _admit(self, request: Any) -> bool:
        now = time.monotonic()
        with self._lock:
            if len(self._open) >= self.most:
                oldest, state = min(
                    self._open.items(), key=lambda one: (one[1].answering, one[1].since)
                )
                if state.answering and now - state.since < _STALLED_S:
                    return False
                del self._open[oldest]
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread reads the end and is done
            self._open[request] = _State(now)
        return True

    def note(self, request: Any, *, answering: bool) -> None:
        """What a connection does from now on."""
        with self._lock:
            if request in self._open:
                self._open[request] = _State(time.monotonic(), answering)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nothing to tell; else a line without anything of its own."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            kind = type(error).__name__
            print(f"error: a request could not be answered ({kind})", file=sys.stderr)


def _plain(host: str) -> str:
    """A name or an address in one form."""
    host = host.lower().partition("%")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


class _Incoming(io.RawIOBase):
    """What a client sends, until ``deadline``, in seconds of ``time.monotonic``."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self.deadline = connection, 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """As a socket does, but that each read has only what is left of the whole time."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "LightToken", ""
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.rfile.close()  # it has no end to the time of a whole head
        self._incoming = _Incoming(self.connection)
        self.rfile = io.BufferedReader(self._incoming)
        self._unread = False  # whether the client may send more that nobody reads

    def handle_one_request(self) -> None:
        self._incoming.deadline = time.monotonic() + self.server.head_s
        self.server.note(self.request, answering=False)
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Python's, and what HTTP asks for beside it."""
        if not super().parse_request():
            return False
        problem = self._problem()
        if problem is not None:
            self.send_error(problem)
        return problem is None

    def _problem(self) -> HTTPStatus | None:
        hosts = self.headers.get_all("Host", [])
        if self.request_version == "HTTP/0.9" or len(hosts) > 1:
            return HTTPStatus.BAD_REQUEST
        if not hosts and self.request_version != "HTTP/1.0":
            return HTTPStatus.BAD_REQUEST
        if self.command not in _ALLOWED:
            return HTTPStatus.NOT_IMPLEMENTED
        if not self.path.startswith("/"):
            try:
                target = urlsplit(self.path)
            except ValueError:
                return HTTPStatus.BAD_REQUEST
            if target.scheme != "http" or not target.netloc:
                return HTTPStatus.BAD_REQUEST
            hosts.append(target.netloc)
            self.path = target.path or "/"
        reached = str(self.connection.getsockname()[0])
        if not all(self.server.answers_for(host.strip(), reached) for host in hosts):
            return HTTPStatus.MISDIRECTED_REQUEST
        return None

    def handle_expect_100(self) -> bool:
        """Nobody is asked for a body: the answer comes without it."""
        return True

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a person reads this terminal."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The status alone, with nothing of the request in it, and the connection's end."""
        self.request_version = self.protocol_version  # also where it is not known or too old
        self.close_connection = self._unread = True
        self._head(HTTPStatus(code), TYPES[".txt"], 0)

    def _answer(self, *, body: bool) -> None:
        self.server.note(self.request, answering=True)
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            # What comes next is no request, whatever it looks like.
            self.close_connection = self._unread = True
        name = unquote(self.path.partition("?")[0].partition("#")[0]).removeprefix("/")
        made = self.server.contents.made.get(name)
        if made is not None:
            self._head(HTTPStatus.OK, _type(name), len(made))
            if body:
                self._send(iter([made]), len(made))
            return
        path = self.server.places.get(name)
        try:
            file = _open(path) if path is not None and path.is_file() else None
        except OSError:
            file = None
        if file is None:
            self._head(HTTPStatus.NOT_FOUND, TYPES[".txt"], 0)
            return
        with file:
            status = os.fstat(file.fileno())
            tag = f'"{status.st_size:x}-{status.st_mtime_ns:x}"'
            if not stat.S_ISREG(status.st_mode):
                self._head(HTTPStatus.NOT_FOUND, TYPES[".txt"], 0)
            elif self.headers.get("If-None-Match") == tag:
                self._head(HTTPStatus.NOT_MODIFIED, None, None, tag)
            else:
                kind = _type(self.server.contents.files[name].name)
                self._head(HTTPStatus.OK, kind, status.st_size, tag)
                if body:
                    self._send(iter(lambda: file.read(_PIECE), b""), status.st_size)

    def _send(self, pieces: Iterator[bytes], count: int) -> None:
        """``count`` bytes; a file that is shorter by now ends the connection, not the server."""
        try:
            for piece in pieces:
                self.wfile.write(piece[:count])
                self.server.note(self.request, answering=True)
                count -= len(piece)
                if count <= 0:
                    return
        except OSError:  # a page that is closed or reloaded takes no more
            count = 1
        if count:
            self.close_connection = True

    def _head(
        self, status: HTTPStatus, kind: str | None, length: int | None, tag: str | None = None
    ) -> None:
        self.connection.settimeout(self.server.send_s)
        self.send_response(status)
        for name, value in self.server.contents.headers.items():
            self.send_header(name, value)
        if status == HTTPStatus.NOT_IMPLEMENTED:
            self.send_header("Allow", ", ".join(_ALLOWED))
        if kind is not None:
            self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if tag is not None:
            self.send_header("ETag", tag)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def finish(self) -> None:
        """Read on for a moment where more may come: to close at once would reset the answer."""
        super().finish()
        if not self._unread:
            return
        until, left = time.monotonic() + _UNREAD_S, _UNREAD_BYTES
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and (seconds := until - time.monotonic()) > 0:
                self.connection.settimeout(seconds)
                got = len(self.connection.recv(1 << 16))
                left -= got or left


def _open(path: Path) -> BinaryIO:
    """A file that is no link."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags), "rb")


def _type(name: str) -> str:
    return TYPES.get(PurePosixPath(name).suffix, _BYTES)
