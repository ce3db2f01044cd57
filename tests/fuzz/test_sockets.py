"""Bytes that no client library would send: the connection ends or is answered, and others are served."""

import json
import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fuzz.conftest import BODY_TIMEOUT_S, MUTATED_SHARE, SCHEMA_SHARE, Target

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
GOOD = json.dumps({"inputs": "Hello", "parameters": {"max_new_tokens": 2}}).encode()
DEADLINE_S = BODY_TIMEOUT_S + 8.0
Pieces = list[bytes]


def _head(*lines: str, path: str = "/generate", method: str = "POST", version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"{method} {path} {version}", "host: localhost", *lines, "", ""]).encode("latin-1", "replace")


def _with_length(length: object, body: bytes = GOOD, *more: str) -> Pieces:
    return [_head(f"content-length: {length}", "content-type: application/json", *more), body]


def _chunks(*chunks: bytes) -> Pieces:
    return [_head("transfer-encoding: chunked"), *chunks]


KINDS: tuple[Callable[[random.Random], Pieces], ...] = (
    lambda dice: [dice.randbytes(dice.choice([1, 20, 3_000]))],
    lambda dice: [b"GET /\r\n\r\n"],
    lambda dice: [b"\r\n\r\n\r\n", _head(method="GET", path="/livez"), b""],
    lambda dice: [_head(method=dice.choice(["BREW", "get", "POST\0", "CONNECT", "PRI", "TRACE", "OPTIONS", "DELETE"]))],
    lambda dice: [_head(version=dice.choice(["HTTP/9.9", "HTTP/1.0", "HTTP/2.0", "FTP/1.1", ""]))],
    lambda dice: [_head(path="/" + "a" * dice.choice([100, 8_000, 70_000]), method="GET")],
    lambda dice: [_head(path=dice.choice(["//", "/%", "/%00", "/../../etc", "*", "/generate?%ff=%", "/\x80"]))],
    lambda dice: [_head(f"x-filler: {'a' * dice.choice([4_000, 20_000, 200_000])}")],
    lambda dice: [_head(*[f"x-{n}: {n}" for n in range(dice.choice([90, 2_000]))])],
    lambda dice: [_head(dice.choice(["no colon", ": nothing", "a b: c", "x: \x01", "x:\x7f", "\tfolded: 1", "é: ü"]))],
    lambda dice: _with_length(dice.choice([-1, "x", "", "1e3", "0x10", 10**30, "5, 5", "+5"])),
    lambda dice: _with_length(len(GOOD) + dice.choice([1, 500])),  # and then silence
    lambda dice: _with_length(max(len(GOOD) - dice.choice([1, 20]), 0)),  # the rest is the next request
    lambda dice: _with_length(len(GOOD), GOOD, "content-length: 3"),
    lambda dice: _with_length(len(GOOD), GOOD, "transfer-encoding: chunked"),
    lambda dice: _with_length(dice.choice([2 << 20, 1 << 40]), b"a"),
    lambda dice: _with_length(len(GOOD), GOOD, dice.choice(["expect: 100-continue", "expect: tea", "upgrade: h2c"])),
    lambda dice: _with_length(len(GOOD), GOOD, "content-encoding: gzip"),
    lambda dice: _chunks(b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)),
    lambda dice: _chunks(b"zz\r\n", GOOD),
    lambda dice: _chunks(b"fffffffffffffffff\r\n", GOOD),
    lambda dice: _chunks(b"-5\r\n", GOOD, b"\r\n0\r\n\r\n"),
    lambda dice: _chunks(b"5\r\nabc"),  # and then silence
    lambda dice: _chunks(*[b"1\r\na\r\n"] * 400, b"0\r\n\r\n"),
    lambda dice: [b"POST /generate HTTP/1.1\r\nhost: localhost\r\nx-slow: "],  # and then silence
    lambda dice: [*_with_length(len(GOOD)), *_with_length(len(GOOD)), *_with_length(len(GOOD))],  # pipelined
)


def test_raw_bytes_hang_nothing_and_break_nothing(target: Target) -> None:
    """Whoever sends only half is let go; the sender closes its half after the last piece in every second case."""
    dice = target.dice("raw bytes")
    count = max(int(target.cases * (1 - SCHEMA_SHARE - MUTATED_SHARE)), len(KINDS))
    cases = [(KINDS[number % len(KINDS)](dice), dice.random() < 0.5) for number in range(count)]
    with ThreadPoolExecutor(32) as pool:
        results = list(pool.map(lambda case: _played(target.server.port, *case), cases))

    print({result: results.count(result) for result in sorted(set(results), key=str)})
    faults = [(result, pieces) for result, (pieces, _) in zip(results, cases, strict=True) if _is_fault(result)]
    assert [(result, b"".join(pieces)[:300]) for result, pieces in faults] == []
    target.check()


def _is_fault(result: int | str) -> bool:
    return result == "hang" or (isinstance(result, int) and result >= 500 and result not in {501, 503, 505})


def _played(port: int, pieces: Pieces, closes: bool) -> int | str:
    """Return the first status, `closed` or `hang`."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            if closes:
                connection.shutdown(socket.SHUT_WR)
            return _first_status(connection)
        except TimeoutError:
            return "hang"
        except OSError:
            return "closed"


def _first_status(connection: socket.socket) -> int | str:
    deadline = time.monotonic() + DEADLINE_S
    said = b""
    while b"\r\n" not in said:
        if time.monotonic() > deadline:
            return "hang"
        piece = connection.recv(65_536)
        if not piece:
            return "closed"
        said += piece
    words = said.split(b"\r\n", 1)[0].split(b" ")
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else "closed"
