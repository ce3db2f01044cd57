"""How soon a node's work stops after its caller hung up, through a real gateway: `python -m tests.bench.hanging_up`.

Prints Markdown. A caller sends a request, waits until the node works on it, and closes the connection; whole answers
and streams, a scripted node (which notes the moment) and the CPU node (whose metrics are read until they say so, every
2 ms). Gateway, CPU node and this are processes of their own.
"""

import argparse
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from tests.bench.overload import in_ms
from tests.support.gateway import running
from tests.support.oip_node import OipNode
from tests.support.ports import free_port
from tests.support.prompt_release import make_prompt_release
from tests.support.tiny_release import make_tiny_release
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage

PATHS = ("/generate_stream", "/generate")
TOKENS = 400
STEP_S = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    print("| node | route | hang-ups | node's work stops after p50 / p99, ms | longest |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="weir-hanging-up-") as folder:
        for name, measured in (("scripted", with_scripted_node), ("CPU node", with_cpu_node)):
            for path in PATHS:
                took = measured(Path(folder) / name.replace(" ", "-"), path, rounds)
                print(f"| {name} | `{path}` | {len(took)} | {in_ms(took)} | {1000 * max(took):.1f} |", flush=True)


def with_scripted_node(folder: Path, path: str, rounds: int) -> list[float]:
    words = (step for _ in range(TOKENS) for step in (TokenChunk("word "), STEP_S))
    node = OipNode((*words, Finished(FinishReason.LENGTH, Usage(8, TOKENS))))
    took = []
    with (
        running(node) as node_port,
        gateway(node_port, make_prompt_release(folder / path[1:], context_tokens=512)) as port,
    ):
        for number in range(rounds):
            with closing(asked(port, path)):
                wait_until(lambda number=number: len(node.bodies) > number)
                time.sleep(STEP_S * (1 + number % 7))  # anywhere between tokens
            hung_up = time.monotonic()
            wait_until(lambda number=number: len(node.closed_at) > number)
            took.append(node.closed_at[-1] - hung_up)
    return took


def with_cpu_node(folder: Path, path: str, rounds: int) -> list[float]:
    release = make_tiny_release(folder / path[1:], precisions=("fp32",))
    node_port, took = free_port(), []
    options = ("--home", str(folder), "--port", str(node_port), "--threads", "1")
    with process("weir.cpu_node", str(release), *options), gateway(node_port, release) as port:
        while len(took) < rounds:
            cancelled, all_ended = ended(node_port)
            with closing(asked(port, path)):
                wait_until(lambda: sample(node_port, "weir_node_running") == 1)
            hung_up = time.monotonic()
            wait_until(lambda all_ended=all_ended: ended(node_port)[1] > all_ended)
            if ended(node_port)[0] > cancelled:  # else the answer came to its end just before
                took.append(time.monotonic() - hung_up)
    return took


def asked(port: int, path: str) -> socket.socket:
    raw = json.dumps({"inputs": "How do I return an order?", "parameters": {"max_new_tokens": TOKENS}}).encode()
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(
        b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(raw), raw)
    )
    return connection


@contextmanager
def gateway(node_port: int, release: Path) -> Iterator[int]:
    """Yield the port of a gateway that is ready."""
    port = free_port()
    with ExitStack() as stack:
        node = f"http://127.0.0.1:{node_port}"
        options = ("--release", str(release), "--port", str(port), "--admin-port", "0", "--log-level", "warning")
        stack.enter_context(process("weir.gateway", "--node", node, *options))
        wait_until(lambda: got(port, "/readyz") is not None, within_s=60)
        yield port


@contextmanager
def process(module: str, *arguments: str) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-m", module, *arguments], stderr=subprocess.DEVNULL) as running:
        try:
            yield
        finally:
            running.kill()


def ended(port: int) -> tuple[float, float]:
    """Return how many requests were cancelled, and how many ended in any way."""
    lines = [
        line for line in (got(port, "/metrics") or "").splitlines() if line.startswith("weir_node_requests_total{")
    ]
    counts = {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in lines}
    return counts.get("cancelled", 0.0), sum(counts.values())


def sample(port: int, series: str) -> float:
    lines = (got(port, "/metrics") or "").splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(series + " ")), 0.0)


def got(port: int, path: str) -> str | None:
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            text = response.read().decode()
            return text if response.status == 200 else None
    except OSError:
        return None


def wait_until(is_so: Callable[[], bool], within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError("it did not come true in time")
        time.sleep(0.002)


if __name__ == "__main__":
    main()
