"""`weir bench`: what is counted, and what it refuses."""

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from weir import cli
from weir.contracts.errors import JobError, UsageError
from weir_training.benching.closed_loop import Plan, Sample, measure, parse_concurrencies, table


def test_an_answer_of_one_token_has_no_time_between_tokens() -> None:
    assert Sample(0.5, 0.5, 1).per_token_s is None
    assert Sample(0.5, 2.5, 5).per_token_s == 0.5


@pytest.mark.parametrize("text", ["", "1,x", "0", "257"])
def test_a_senseless_concurrency_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--concurrency"):
        parse_concurrencies(text)


async def test_rounds_are_interleaved_and_clients_never_more_than_asked() -> None:
    running, most, asked = 0, 0, []

    async def ask(number: int) -> Sample:
        nonlocal running, most
        running += 1
        most = max(most, running)
        asked.append(number)
        await asyncio.sleep(0)
        running -= 1
        return Sample(0.001, 0.004, 4)

    figures = await measure(Plan((1, 3), rounds=2, requests=4), ask)

    assert most == 3
    assert len(asked) == 1 + 2 * (4 + 4)
    assert [(f.concurrency, f.answers, f.tokens) for f in figures] == [(1, 8, 32), (3, 8, 32)]
    assert figures[0].first_token_ms_p50 == pytest.approx(1.0)
    assert figures[0].per_token_ms_p99 == pytest.approx(1.0)
    assert "tokens/s" in table(figures)


async def test_the_first_failure_ends_the_round_as_itself() -> None:
    async def ask(number: int) -> Sample:
        if number == 2:
            raise JobError("the gateway answered 503")
        await asyncio.sleep(0)
        return Sample(0.1, 0.1, 1)

    with pytest.raises(JobError, match="503"):
        await measure(Plan((2,), rounds=1, requests=4), ask)


class _Gateway(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, self.headers.get("authorization"), body))
        self.send_response(self.server.status)
        self.end_headers()
        for number in (1, 2):
            self.wfile.write(b'data:{"token":{"id":%d}}\n\n' % number)
        self.wfile.write(b'data:{"token":{"id":3},"details":{"generated_tokens":7}}\n\n')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Gateway)
    server.status, server.asked = 200, []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def bench(port: int, *options: str) -> int:
    url = f"http://127.0.0.1:{port}"
    return cli.run(
        ["bench", "served", "--url", url, "--concurrency", "1,2", "--rounds", "1", "--requests", "2", *options]
    )


def test_a_gateway_is_asked_for_streams_and_its_own_count_is_taken(
    gateway: http.server.ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(gateway.server_port, "--key", "secret", "--json") == 0
    figures = json.loads(capsys.readouterr().out)["figures"]

    assert [(f["concurrency"], f["tokens"]) for f in figures] == [(1, 14), (2, 14)]
    path, key, body = gateway.asked[0]
    assert (path, key) == ("/generate_stream", "Bearer secret")
    assert body["parameters"] == {"max_new_tokens": 64, "details": True}


def test_a_gateway_that_refuses_ends_the_bench(
    gateway: http.server.ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.status = 429

    assert bench(gateway.server_port) == 1
    assert "the gateway answered 429" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://example.com", "https://127.0.0.1", "file:///etc"])
def test_only_this_machine_is_loaded(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "served", "--url", url]) == 2
    assert "--url" in capsys.readouterr().err


def test_a_name_that_is_neither_shape_nor_release_is_a_usage_error_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["bench", "engine", "gpt-9", "--home", str(tmp_path)]) == 2

    assert "no shape (smollm2-135m, qwen2.5-0.5b) and no release" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_peer_that_nobody_knows_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "engine", "smollm2-135m", "--peer", "abacus", "--home", str(tmp_path)]) == 2

    assert "--peer abacus: not known (there are openvino, llama-cpp, genai, transformers)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
