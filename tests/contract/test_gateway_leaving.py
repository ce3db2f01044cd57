"""How a gateway leaves: it drains what runs, tells whom it keeps, and is gone at once when nothing runs."""

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.noded import END, node, node_url, release
from tests.support.oip_node import OipNode, words_until
from tests.support.ports import free_port
from tests.support.process import GatewayProcess, gateway_process

from weir.contracts.events import TokenChunk

__all__ = ["node", "node_url", "release"]


def begun_stream(weir: GatewayProcess) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", weir.port), timeout=10)
    connection.sendall(b'POST /generate_stream HTTP/1.1\r\nhost: localhost\r\ncontent-length: 14\r\n\r\n{"inputs":"?"}')
    assert connection.recv(10)
    return connection


def rest_of(connection: socket.socket) -> bytes:
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


def is_told_to_close(kept: http.client.HTTPConnection) -> bool:
    kept.request("GET", "/livez")
    with kept.getresponse() as response:
        assert (response.status, response.read() != b"") == (200, True)
        return response.getheader("connection") == "close"


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_lets_streams_end_and_kept_connections_are_told(
    release: Path, node: OipNode, node_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """With a delay: a worker without a stream leaves at once else, and its connections with it."""
    monkeypatch.setenv("WEIR_GATEWAY_DRAIN_DELAY_S", "3")
    told = threading.Event()
    node.script = words_until(told)
    with (
        gateway_process(release, node_url, tmp_path, "--workers", str(workers)) as weir,
        closing(http.client.HTTPConnection("127.0.0.1", weir.port, timeout=10)) as kept,
    ):
        begun = [begun_stream(weir) for _ in range(4)]
        kept.request("GET", "/livez")
        assert kept.getresponse().read()
        weir.process.send_signal(signal.SIGTERM)
        weir.eventually(lambda: weir.status("/readyz") == 503)
        assert weir.metric("draining") == 1
        weir.eventually(lambda: is_told_to_close(kept))
        told.set()
        for connection in begun:
            with closing(connection):
                data = rest_of(connection)
                assert data.endswith(b"0\r\n\r\n")
                assert b"generated_text" in data
        assert weir.process.wait(10) == 0


def num_let_in(port: int) -> int:
    """Count a server's connections that it has taken from the kernel: those that wait have no inode yet."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" and row[9] != "0" for row in rows)


@pytest.mark.parametrize("workers", [1, 2])
def test_who_has_nothing_to_do_leaves_at_once_but_answers_whom_it_let_in(
    release: Path, node_url: str, tmp_path: Path, workers: int
) -> None:
    """Without a delay."""
    request = b'POST /generate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 14\r\n\r\n{"inputs":"?"}'
    with gateway_process(release, node_url, tmp_path, "--workers", str(workers)) as weir:
        weir.eventually(lambda: weir.log.count('"node_ready"') == workers)
        silent = [socket.create_connection(("127.0.0.1", weir.port), timeout=10) for _ in range(8)]
        for connection in silent[::2]:
            connection.sendall(request[:20])
        weir.eventually(lambda: num_let_in(weir.port) >= len(silent))
        weir.process.send_signal(signal.SIGTERM)
        weir.eventually(lambda: weir.log.count('"leaving"') == workers, within_s=2)
        for number, connection in enumerate(silent):
            connection.sendall(request[20:] if number % 2 == 0 else request)
        for connection in silent:
            with closing(connection):
                data = rest_of(connection)
                assert data.startswith(b"HTTP/1.1 200 ")
                assert b"connection: close" in data
        assert weir.process.wait(5) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_an_idle_gateway_is_gone_in_a_moment(release: Path, node_url: str, tmp_path: Path, workers: int) -> None:
    with gateway_process(release, node_url, tmp_path, "--workers", str(workers)) as weir:
        weir.eventually(lambda: weir.log.count('"node_ready"') == workers)
        began = time.monotonic()
        weir.process.send_signal(signal.SIGTERM)
        assert weir.process.wait(10) == 0
        assert time.monotonic() - began < 3  # a second, and this machine's other jobs


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_ends_at_once(
    release: Path, node: OipNode, node_url: str, tmp_path: Path, workers: int
) -> None:
    node.script = (*(step for _ in range(1000) for step in (TokenChunk("一 "), 0.03)), END)
    with (
        gateway_process(release, node_url, tmp_path, "--workers", str(workers)) as weir,
        closing(begun_stream(weir)),
    ):
        weir.process.send_signal(signal.SIGTERM)
        weir.eventually(lambda: weir.status("/readyz") == 503)
        weir.process.send_signal(signal.SIGTERM)
        weir.process.wait(10)  # the stream goes on for half a minute


def test_it_is_started_and_live_before_it_is_ready(release: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "weir.gateway", "--node", "http://127.0.0.1:1", "--release", str(release)]
    port = free_port()
    log_file = tmp_path / "log"
    with log_file.open("wb") as log:
        command += ["--port", str(port), "--admin-port", "0", "--home", str(tmp_path)]
        process = subprocess.Popen(command, stderr=log)
    weir = GatewayProcess(process, port, 0, log_file)
    try:
        weir.eventually(lambda: weir.status("/startupz") == 200, within_s=30)
        assert weir.status("/livez") == 200
        assert weir.status("/readyz") == 503
    finally:
        process.kill()
        process.wait()
