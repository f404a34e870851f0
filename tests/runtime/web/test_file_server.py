"""What clients may send, well and ill, over plain sockets."""

import contextlib
import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from runtime.web.file_server import Contents, FileServer

PAGE = b"<!doctype html>the page"
MADE = b'{"made": true}'


@contextlib.contextmanager
def serving(tmp_path, host="127.0.0.1", **settings):
    """A running server of a page, a file and something made; ``settings`` are its attributes."""
    (tmp_path / "page.html").write_bytes(PAGE)
    (tmp_path / "large.bin").write_bytes(bytes(3_000_000))
    files = {"": tmp_path / "page.html", "large.bin": tmp_path / "large.bin"}
    kind = type("Server", (FileServer,), settings)
    with kind(Contents(files, {"made.json": MADE}, {"X-Ours": "1"}), host, 0) as opened:
        thread = threading.Thread(target=opened.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield opened
        finally:
            opened.shutdown()
            thread.join()


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path) as opened:
        yield opened


def connect(server, host="127.0.0.1"):
    return socket.create_connection((host, server.server_port), timeout=10)


def all_of(connection) -> bytes:
    """What comes until the server ends the connection."""
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def send(server, *lines: str, host: str | None = "", rest: bytes = b"", last: bool = True) -> bytes:
    """The whole answer to these lines; ``host`` "" is the right one, None sends no such header."""
    if host == "":
        host = f"127.0.0.1:{server.server_port}"
    head = [lines[0], *([] if host is None else [f"Host: {host}"]), *lines[1:]]
    if last:
        head.append("Connection: close")
    with connect(server) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + rest)
        return all_of(connection)


def large(server) -> bytes:
    """A request of the large file."""
    return f"GET /large.bin HTTP/1.1\r\nHost: localhost:{server.server_port}\r\n\r\n".encode()


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1."), answer[:80]
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/", 200),
        ("/made.json?x=1", 200),
        ("/?a=http://[::1", 200),
        ("/#x", 200),
        ("http://[::1", 400),
        ("http://[::1/", 400),
        ("http://]/", 400),
        ("https://127.0.0.1/", 400),
        ("http:///", 400),
        ("127.0.0.1:80", 400),
        ("*", 400),
        ("page.html", 400),
        ("/[::1", 404),
        ("/%00", 404),
        ("/large.bin%00", 404),
        ("/..\\large.bin", 404),
        ("/%2e%2e%5clarge.bin", 404),
        ("/%ff%fe%zz%", 404),
        ("/\x1b[2J\x07", 404),
        ("/" + "a" * 60_000, 404),
        ("/" + "a" * 70_000, 414),
    ],
)
def test_targets(server, capfd, target, code):
    answer = send(server, f"GET {target} HTTP/1.1")
    assert status(answer) == code
    assert (answer.endswith((PAGE, MADE))) == (code == 200)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "lines",
    [
        ("GARBAGE",),
        ("GET /",),
        ("GET / HTTP/9.9",),
        ("GET / HTTP/x",),
        ("GET / HTTP/2.0",),
        ("GET / / HTTP/1.1",),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc",),
        ("get / HTTP/1.1",),
        ("POST / HTTP/1.1", "Content-Length: 3"),
        ("OPTIONS * HTTP/1.1",),
        ("CONNECT example.org:443 HTTP/1.1",),
        ("TRACE / HTTP/1.1",),
        ("do_GET / HTTP/1.1",),
        ("GET / HTTP/1.1", *(f"X-{n}: y" for n in range(200))),
        ("GET / HTTP/1.1", "X: " + "y" * 70_000),
    ],
)
def test_what_is_no_request_of_ours_is_refused_and_the_connection_ended(server, capfd, lines):
    answer = send(server, *lines, last=False, rest=b"GET /made.json HTTP/1.1\r\n\r\n")
    assert 400 <= status(answer) < 600
    assert answer.count(b"HTTP/1.") == 1
    assert b"Connection: close" in answer
    assert b"\x1b" not in answer
    assert capfd.readouterr() == ("", "")


def test_other_methods_hear_which_there_are(server):
    answer = send(server, "DELETE / HTTP/1.1")
    assert status(answer) == 501
    assert b"Allow: GET, HEAD\r\n" in answer


def test_head_has_no_body(server):
    answer = send(server, "HEAD / HTTP/1.1")
    assert status(answer) == 200
    assert f"Content-Length: {len(PAGE)}".encode() in answer
    assert answer.endswith(b"\r\n\r\n")


def test_the_headers_go_with_every_answer(server):
    for target in ("/", "/made.json", "/nowhere", "http://[::1"):
        assert b"X-Ours: 1\r\n" in send(server, f"GET {target} HTTP/1.1")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "[0:0::1]"])
def test_hosts_that_are_this_server(server, name):
    assert status(send(server, "GET / HTTP/1.1", host=f"{name}:{server.server_port}")) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.:{port}", "127.0.0.2:{port}",
     "localhost.evil.example:{port}", "evil@127.0.0.1:{port}", "", " ", "[::1", "::1:{port}",
     "192.0.2.1:{port}", "127.0.0.1:{port}, evil.example", "127.0.0.1:{port}x", "[::2]:{port}",
     "127.1:{port}", "0.0.0.0:{port}"],
)  # fmt: skip
def test_foreign_hosts_get_nothing(server, host):
    answer = send(server, "GET / HTTP/1.1", host=host.format(port=server.server_port) or " ")
    assert status(answer) == 421
    assert PAGE not in answer


def test_a_target_with_a_host_needs_the_right_one_too(server):
    here = f"http://127.0.0.1:{server.server_port}"
    assert status(send(server, f"GET {here}/made.json HTTP/1.1")) == 200
    assert status(send(server, f"GET {here} HTTP/1.1")) == 200
    assert status(send(server, "GET http://evil.example/ HTTP/1.1")) == 421
    assert status(send(server, f"GET {here}/ HTTP/1.1", host="evil.example")) == 421


def test_a_request_names_one_host(server):
    assert status(send(server, "GET / HTTP/1.1", host=None)) == 400
    assert status(send(server, "GET / HTTP/1.1", "Host: evil.example")) == 400
    assert status(send(server, "GET / HTTP/1.0", host=None)) == 200


def test_on_all_addresses_the_one_that_was_reached_and_the_machines_name(tmp_path):
    with serving(tmp_path, "0.0.0.0") as server:
        port, name = server.server_port, socket.gethostname()
        assert server.address == f"http://127.0.0.1:{port}/"
        for host in ("127.0.0.1", "localhost", name):
            assert status(send(server, "GET / HTTP/1.1", host=f"{host}:{port}")) == 200
        for host in ("evil.example", "192.0.2.7", "0.0.0.0"):
            wanted = 200 if host == "0.0.0.0" else 421  # browsers on Linux reach it by this too
            assert status(send(server, "GET / HTTP/1.1", host=f"{host}:{port}")) == wanted
        assert server.answers_for(f"192.0.2.7:{port}", "192.0.2.7")
        assert server.answers_for(f"192.0.2.7:{port}", "::ffff:192.0.2.7")
        assert not server.answers_for(f"192.0.2.7:{port}", "192.0.2.8")


def test_an_address_of_ipv6(tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with serving(tmp_path, "::1") as server:
        assert server.address == f"http://[::1]:{server.server_port}/"
        with connect(server, "::1") as connection:
            head = (
                f"GET / HTTP/1.1\r\nHost: [::1]:{server.server_port}\r\nConnection: close\r\n\r\n"
            )
            connection.sendall(head.encode())
            assert status(all_of(connection)) == 200


@pytest.mark.parametrize(
    "header", ["Content-Length: 40", "Content-Length: -1", "Content-Length: x",
               "Transfer-Encoding: chunked"],
)  # fmt: skip
def test_a_body_is_never_a_second_request(server, header):
    second = f"GET /made.json HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode()
    answer = send(server, "GET / HTTP/1.1", header, rest=second, last=False)
    assert answer.count(b"HTTP/1.") == 1
    assert answer.endswith(PAGE)
    assert b"Connection: close" in answer


def test_a_client_that_asks_before_its_body_gets_the_answer_at_once(server):
    lines = ("GET / HTTP/1.1", "Content-Length: 9", "Expect: 100-continue")
    answer = send(server, *lines, last=False)
    assert status(answer) == 200


def test_requests_on_one_connection(server):
    client = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    for target, body in (("/", PAGE), ("/nowhere", b""), ("/made.json", MADE)):
        client.request("GET", target)
        assert client.getresponse().read() == body
    client.close()


def test_two_hundred_downloads_at_once(server):
    def download(_):
        client = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        client.request("GET", "/large.bin")
        response = client.getresponse()
        return response.status, len(response.read())

    with ThreadPoolExecutor(200) as pool:
        assert list(pool.map(download, range(200))) == [(200, 3_000_000)] * 200


def test_idle_and_slow_connections_are_ended(tmp_path):
    with serving(tmp_path, head_s=0.5) as server, connect(server) as idle, connect(server) as slow:
        begun = time.monotonic()
        with contextlib.suppress(OSError):  # which it sees once the server has ended it
            while time.monotonic() - begun < 8:  # a byte now and then keeps no head open
                slow.sendall(b"G")
                time.sleep(0.05)
        assert idle.recv(1) == b""
        assert time.monotonic() - begun < 8


def test_a_client_that_takes_nothing_is_ended(tmp_path):
    with serving(tmp_path, send_s=0.5) as server, connect(server) as lazy:
        (tmp_path / "large.bin").write_bytes(bytes(50_000_000))
        lazy.sendall(large(server))
        until = time.monotonic() + 8
        assert lazy.recv(4)
        while server._open and time.monotonic() < until:
            time.sleep(0.05)
        assert not server._open


def test_many_connections_that_say_nothing_keep_nobody_out(tmp_path):
    with serving(tmp_path, most=20) as server:
        before = threading.active_count()
        idle = [connect(server) for _ in range(60)]
        for _ in range(3):
            assert status(send(server, "GET / HTTP/1.1")) == 200
        assert len(server._open) <= 20
        until = time.monotonic() + 5
        while threading.active_count() - before > 20 and time.monotonic() < until:
            time.sleep(0.05)
        assert threading.active_count() - before <= 20
        for one in idle:
            one.close()


def test_where_all_are_answered_another_hears_that_it_is_full(tmp_path):
    with serving(tmp_path, most=2) as server:
        (tmp_path / "large.bin").write_bytes(bytes(50_000_000))
        busy = [connect(server) for _ in range(2)]
        for one in busy:
            one.sendall(large(server))
            assert one.recv(4)
        assert status(send(server, "GET / HTTP/1.1", last=False)) == 503
        for one in busy:
            one.close()


def test_a_file_that_went_away(server, tmp_path):
    file = tmp_path / "large.bin"
    file.unlink()
    assert status(send(server, "GET /large.bin HTTP/1.1")) == 404
    file.mkdir()
    assert status(send(server, "GET /large.bin HTTP/1.1")) == 404


def test_a_file_that_becomes_a_link_is_not_followed(tmp_path):
    """But one that is a link from the beginning, as in the hub's cache, is served."""
    (tmp_path / "private").write_text("secret")
    (tmp_path / "blob").write_bytes(PAGE)
    (tmp_path / "page.html").symlink_to("blob")
    with serving(tmp_path) as server:
        (tmp_path / "large.bin").unlink()
        (tmp_path / "large.bin").symlink_to("private")
        assert status(send(server, "GET /large.bin HTTP/1.1")) == 404
        answer = send(server, "GET / HTTP/1.1")
        assert answer.endswith(PAGE)
        assert b"Content-Type: text/html" in answer


def test_an_error_of_our_own_is_a_line_without_the_clients_bytes(server, capfd, monkeypatch):
    monkeypatch.setattr(FileServer, "answers_for", lambda *_: 1 / 0)
    assert send(server, "GET /\x1b[31m HTTP/1.1") == b""
    assert capfd.readouterr().err == "error: a request could not be answered (ZeroDivisionError)\n"
