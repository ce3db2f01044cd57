"""What a gateway bears from the wire before any route is known: raw bytes in, raw bytes out."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import Gateway, Stage, answer, build_app, running
from tests.support.oip_node import OipNode
from tests.support.process import gateway_process

from weir.asgi.limits import ConnectionLimits
from weir.backends.scripted import ScriptedBackend
from weir.contracts.events import TokenChunk

QUICK = ConnectionLimits(head_timeout_s=0.3, body_timeout_s=0.4, idle_timeout_s=0.5, write_timeout_s=0.5)
BODY = b'{"inputs":"?"}'
ASK = b"POST /generate HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def weir(stage: Stage, release: Path) -> Iterator[Gateway]:
    app = build_app(release, [stage.backend])
    with running(app, QUICK) as port:
        yield Gateway(f"http://127.0.0.1:{port}", port, app)


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as connection:
        yield connection


def read_response(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one response with a content-length."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        assert part, f"the connection ended within a head: {data!r}"
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return int(lines[0].split()[1]), headers, body


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def refused(weir: Gateway, *parts: bytes, path: str = "/") -> tuple[int, Any]:
    """Send `parts`; return status and JSON of the answer, after which the connection must close."""
    with connected(weir.port) as connection:
        for part in parts:
            connection.sendall(part)
        status, headers, body = read_response(connection)
        assert headers["connection"] == "close"
        assert is_closed(connection)
    return status, json.loads(body)


def test_headers_beyond_16_kib_are_431(weir: Gateway) -> None:
    before = weir.metric("refused_early_total", reason="headers_too_large")
    start = b"POST /generate HTTP/1.1\r\nhost: localhost\r\n"

    at_once = refused(weir, start + b"x-big: " + b"a" * 17_000 + b"\r\n\r\n")
    in_parts = refused(weir, start + b"x-big: ", *[b"a" * 8192] * 4)
    many = refused(weir, start + b"".join(b"x-%d: y\r\n" % i for i in range(101)) + b"\r\n")
    target = refused(weir, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n")

    for status, body in (at_once, in_parts, many, target):
        assert status == 431
        assert body["error_type"] == "validation"
        assert "16384 bytes" in body["error"]
    weir.eventually(lambda: weir.metric("refused_early_total", reason="headers_too_large") == before + 4)


def test_headers_up_to_the_limit_pass(weir: Gateway, stage: Stage) -> None:
    stage.script = answer("ok")
    fields = b"".join(b"x-%d: %b\r\n" % (i, b"v" * 150) for i in range(95))
    with connected(weir.port) as connection:
        connection.sendall(ASK.replace(b"\r\n\r\n", b"\r\n" + fields + b"\r\n", 1))
        assert read_response(connection)[0] == 200


def test_an_early_error_has_the_form_of_its_api(weir: Gateway) -> None:
    flood = b"x-big: " + b"a" * 17_000 + b"\r\n\r\n"
    _, tgi = refused(weir, b"POST /generate HTTP/1.1\r\nhost: localhost\r\n" + flood)
    _, openai = refused(weir, b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n" + flood)

    assert set(tgi) == {"error", "error_type"}
    assert openai["error"]["type"] == "invalid_request_error"
    assert openai["error"]["code"] == "headers_too_large"


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 14\r\ntransfer-encoding: chunked",
        b"content-length: 14\r\ncontent-length: 15",
        b"content-length: 14, 14",
        b"content-length: -1",
        b"content-length: 1e3",
        b"content-length: 99999999999999999999",
        b"transfer-encoding: gzip, chunked, gzip",
        b"host : x",
        b"x: a\x00b",
        b"x: a\r\n folded",
    ],
)
def test_lengths_that_contradict_and_broken_fields_are_400(weir: Gateway, stage: Stage, head: bytes) -> None:
    calls = len(stage.backend.calls)
    status, body = refused(weir, b"POST /generate HTTP/1.1\r\nhost: localhost\r\n" + head + b"\r\n\r\n" + BODY)

    assert status == 400
    assert body["error_type"] == "validation"
    assert len(stage.backend.calls) == calls


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\x00\x01\x00\x01", b"HELO weir\r\n\r\n", b"GET nowhere HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_http_is_400(weir: Gateway, junk: bytes) -> None:
    assert refused(weir, junk)[0] == 400


def test_a_head_that_does_not_end_is_408(weir: Gateway) -> None:
    began = time.monotonic()
    status, body = refused(weir, b"POST /generate HTTP/1.1\r\nhost:")
    assert status == 408
    assert "0.3 s" in body["error"]
    assert 0.25 < time.monotonic() - began < 3


def test_a_head_that_drips_is_408_all_the_same(weir: Gateway) -> None:
    with connected(weir.port) as connection:
        connection.settimeout(0.05)
        began = time.monotonic()
        data = b""
        for byte in b"GET /livez HTTP/1.1\r\nx-slow: " + b"a" * 100:
            connection.sendall(bytes([byte]))
            try:
                data = connection.recv(1000)
                break
            except TimeoutError:
                continue
        assert b" 408 " in data
        assert time.monotonic() - began < 5  # all of it would take six


def test_a_connection_that_says_nothing_is_408(weir: Gateway) -> None:
    assert refused(weir)[0] == 408


@pytest.mark.parametrize("begun", [b"", b'{"inp'])
def test_a_body_that_does_not_end_is_408(weir: Gateway, begun: bytes) -> None:
    status, body = refused(weir, b"POST /generate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 14\r\n\r\n" + begun)
    assert (status, body["error_type"]) == (408, "validation")
    assert "0.4 s" in body["error"] or "10 s" in body["error"]


def test_an_idle_connection_is_closed_without_a_word(weir: Gateway) -> None:
    with connected(weir.port) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert read_response(connection)[0] == 200
        began = time.monotonic()
        assert is_closed(connection)
        assert time.monotonic() - began > 0.3


def test_trailers_are_bounded_and_become_no_headers(weir: Gateway, stage: Stage) -> None:
    stage.script = answer("ok")
    start = (
        b"POST /generate HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\ne\r\n" + BODY + b"\r\n0\r\n"
    )
    with connected(weir.port) as connection:
        connection.sendall(start + b"x-request-id: from-a-trailer\r\n\r\n")
        status, headers, _ = read_response(connection)
        assert status == 200
        assert headers["x-request-id"] != "from-a-trailer"

    assert refused(weir, start, *[b"x-t: " + b"a" * 8000] * 20)[0] == 431


def test_a_broken_chunk_is_400(weir: Gateway) -> None:
    start = b"POST /generate HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    assert refused(weir, start + b"5\r\n{", b"xx no\r\n")[0] in {400, 408}
    assert refused(weir, start + b"zz\r\n{")[0] == 400


def test_pipelined_requests_are_answered_in_order(weir: Gateway, stage: Stage) -> None:
    stage.script = answer("ok")
    with connected(weir.port) as connection:
        connection.sendall(ASK + b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n" + ASK)
        stream = connection.makefile("rb")
        statuses = []
        for _ in range(3):
            statuses.append(int(stream.readline().split()[1]))
            length = 0
            while (line := stream.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length"):
                    length = int(line.split()[1])
            stream.read(length)
    assert statuses == [200, 404, 200]


def test_a_flood_of_pipelined_requests_is_answered_in_part_and_closed(weir: Gateway) -> None:
    with connected(weir.port) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n" * 1000)
        data = b""
        with suppress(ConnectionResetError):
            while part := connection.recv(65536):
                data += part
    assert 1 <= data.count(b"HTTP/1.1 200") <= 100
    assert data.count(b"connection: close") == 1


def test_the_connection_is_kept_after_a_refused_body(weir: Gateway, stage: Stage) -> None:
    stage.script = answer("ok")
    with connected(weir.port) as connection:
        for body, wanted in ((b"{", 422), (BODY, 200), (b'{"inputs":1}', 422), (BODY, 200)):
            connection.sendall(ASK.replace(b"14", b"%d" % len(body)).replace(BODY, body))
            status, headers, _ = read_response(connection)
            assert status == wanted
            assert "connection" not in headers


def test_a_body_too_large_is_413_and_the_rest_is_not_swallowed(weir: Gateway, stage: Stage) -> None:
    stage.script = answer("ok")
    status, _ = refused(weir, b"POST /generate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1073741824\r\n\r\n")
    assert status == 413

    with connected(weir.port) as connection:  # when the whole body is there, the connection goes on
        big = b'{"inputs":"' + b"x" * (1 << 20) + b'"}'
        connection.sendall(b"POST /generate HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(big))
        connection.sendall(big[: 1 << 16])
        assert read_response(connection)[0] == 413


def test_expect_100_continue(weir: Gateway, stage: Stage) -> None:
    stage.script = answer("ok")
    head = b"POST /generate HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
    with connected(weir.port) as connection:
        connection.sendall(head % len(BODY))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert read_response(connection)[0] == 200
    assert refused(weir, head % (1 << 21))[0] == 413  # and no 100 before it


def test_an_offer_to_upgrade_is_passed_over(weir: Gateway, stage: Stage) -> None:
    stage.script = answer("ok")
    offer = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
    with connected(weir.port) as connection:
        for _ in range(2):
            connection.sendall(ASK.replace(b"host: localhost\r\n", b"host: localhost\r\n" + offer))
            assert read_response(connection)[0] == 200


def test_http_1_0_gets_a_body_that_ends_with_the_connection(weir: Gateway, stage: Stage) -> None:
    stage.script = answer("一", "二")
    with connected(weir.port) as connection:
        connection.sendall(ASK.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"/generate", b"/generate_stream"))
        data = b""
        while part := connection.recv(65536):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body.startswith(b"data:")


def test_head_has_no_body(weir: Gateway) -> None:
    with connected(weir.port) as connection:
        connection.sendall(
            b"HEAD /livez HTTP/1.1\r\nhost: localhost\r\n\r\nGET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"
        )
        time.sleep(0.2)
        data = connection.recv(65536)
    assert data.count(b"HTTP/1.1 ") == 2


def test_a_client_that_stops_sending_for_good_has_hung_up(weir: Gateway, stage: Stage) -> None:
    stage.script = (TokenChunk("一 "), *(step for _ in range(400) for step in (0.01, TokenChunk("二 "))))
    cancelled = stage.backend.cancelled_count
    with connected(weir.port) as connection:
        connection.sendall(ASK.replace(b"/generate", b"/generate_stream"))
        assert connection.recv(10)
        connection.shutdown(socket.SHUT_WR)
        weir.eventually(lambda: stage.backend.cancelled_count == cancelled + 1)


def test_a_hang_up_is_noticed_behind_a_pipelined_request(weir: Gateway, stage: Stage) -> None:
    stage.script = (TokenChunk("一 "), *(step for _ in range(400) for step in (0.01, TokenChunk("二 "))))
    cancelled = stage.backend.cancelled_count
    with connected(weir.port) as connection:
        connection.sendall(ASK.replace(b"/generate", b"/generate_stream") + ASK)
        assert connection.recv(10)
    weir.eventually(lambda: stage.backend.cancelled_count == cancelled + 1)


def test_a_client_that_does_not_read_its_stream_is_cut(release: Path) -> None:
    text = "x" * 10_000
    backend = ScriptedBackend([step for _ in range(20_000) for step in (TokenChunk(text),)])
    app = build_app(release, [backend])
    with running(app, QUICK) as port, closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(ASK.replace(b"/generate", b"/generate_stream"))
        weir = Gateway("", port, app)
        weir.eventually(lambda: backend.cancelled_count == 1, within_s=10)
        assert weir.metric("refused_early_total", reason="response_unread") == 1


@pytest.mark.timed
def test_tokens_leave_at_once(weir: Gateway, stage: Stage) -> None:
    """With Nagle's algorithm a small write waits for the acknowledgement of the one before, up to 40 ms."""
    stage.script = (TokenChunk("a "), *(step for _ in range(50) for step in (0.004, TokenChunk("b "))))
    arrivals = []
    with connected(weir.port) as connection:
        connection.sendall(ASK.replace(b"/generate", b"/generate_stream"))
        while len(arrivals) < 50:
            assert connection.recv(65536)
            arrivals.append(time.monotonic())
    gaps = sorted(b - a for a, b in pairwise(arrivals))
    assert gaps[len(gaps) // 2] < 0.02


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_a_gigabyte_costs_less_than_4_mb(release: Path, tmp_path: Path, framing: str) -> None:
    node = OipNode(answer("ok"))
    with running(node) as node_port, gateway_process(release, f"http://127.0.0.1:{node_port}", tmp_path) as weir:
        with connected(weir.port) as connection:
            connection.sendall(ASK)
            assert read_response(connection)[0] == 200
        before = weir.rss_kib()
        sent = _send_a_gigabyte(weir.port, framing)
        grown_kib = weir.rss_kib() - before

        assert weir.status("/livez") == 200
    assert sent < 64 << 20, "most of it was swallowed"
    assert grown_kib < 4096


def _send_a_gigabyte(port: int, framing: str) -> int:
    """Send until the gateway has had enough; return how much went out."""
    block = b"x" * (1 << 20)
    head = b"content-length: 1073741824" if framing == "content-length" else b"transfer-encoding: chunked"
    part = block if framing == "content-length" else b"%x\r\n%b\r\n" % (len(block), block)
    sent = 0
    with connected(port) as connection:
        connection.sendall(b"POST /generate HTTP/1.1\r\nhost: localhost\r\n" + head + b"\r\n\r\n")
        with suppress(ConnectionResetError, BrokenPipeError):
            while sent < 1 << 30:
                connection.sendall(part)
                sent += len(part)
        with suppress(ConnectionResetError):
            assert b" 413 " in connection.recv(1000)
    return sent
