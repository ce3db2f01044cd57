"""A caller that hangs up stops a real node's work, through a real gateway: three processes, one of them this one."""

import json
import select
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from tests.support.ports import free_port
from tests.support.tiny_release import make_tiny_release

ROUNDS = 20
LONG = {"max_new_tokens": 400}


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int, int]]:
    """The ports of a node, of its gateway and of the gateway's metrics."""
    home = tmp_path_factory.mktemp("home")
    release = make_tiny_release(home / "releases", precisions=("fp32",))
    node, weir, admin = free_port(), free_port(), free_port()
    where = ("--port", str(weir), "--admin-port", str(admin), "--home", str(home))
    with (
        process("weir.cpu_node", str(release), "--home", str(home), "--port", str(node), "--threads", "1"),
        process("weir.gateway", "--node", f"http://127.0.0.1:{node}", "--release", str(release), *where),
    ):
        wait_until(lambda: got(f"http://127.0.0.1:{weir}/readyz") is not None, 60)
        yield node, weir, admin


@contextmanager
def process(module: str, *arguments: str) -> Iterator[None]:
    running = subprocess.Popen([sys.executable, "-m", module, *arguments], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.kill()
        running.wait()


def got(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return str(response.read().decode())
    except OSError:
        return None


def sample(port: int, series: str) -> float:
    for line in (got(f"http://127.0.0.1:{port}/metrics") or "").splitlines():
        if line.startswith(series + " "):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def wait_until(is_so: Any, within_s: float = 5.0) -> None:
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.002)


def is_begun(node: int, path: str, connection: socket.socket, request: bytes) -> bool:
    """Whether the node works on it; an answer that ended before anybody looked is asked for again."""
    has_words = bool(select.select([connection], [], [], 0)[0])
    if path == "/generate" and has_words:
        connection.recv(1 << 16)
        connection.sendall(request)
    return sample(node, "weir_node_running") == 1 or (path != "/generate" and has_words)


@pytest.mark.timed
@pytest.mark.parametrize("path", ["/generate_stream", "/generate"])
def test_the_nodes_work_stops_within_200_ms(ports: tuple[int, int, int], path: str) -> None:
    node, weir, admin = ports
    cancelled = 'weir_node_requests_total{outcome="cancelled"}'
    raw = json.dumps({"inputs": "How do I return an order?", "parameters": LONG}).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(raw)}\r\n\r\n".encode()
    wasted = sample(admin, 'weir_gateway_wasted_tokens_total{reason="client"}')
    took = []
    for _ in range(ROUNDS):
        before = sample(node, cancelled)
        with closing(socket.create_connection(("127.0.0.1", weir), timeout=10)) as connection:
            connection.sendall(head + raw)
            wait_until(lambda connection=connection: is_begun(node, path, connection, head + raw))
        hung_up = time.monotonic()
        wait_until(lambda before=before: sample(node, cancelled) > before)
        took.append(time.monotonic() - hung_up)
        assert sample(node, "weir_node_running") == 0

    assert sorted(took)[-2] < 0.2, took  # the machine may be elsewhere once
    if path == "/generate":
        assert sample(admin, 'weir_gateway_wasted_tokens_total{reason="client"}') > wasted
    wait_until(lambda: sample(admin, f'weir_gateway_requests_in_flight{{route="{path}"}}') == 0)
