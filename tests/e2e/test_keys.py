"""Keys with real processes: `weir keys` beside a running `weir serve`."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import running
from tests.support.oip_node import OipNode
from tests.support.ports import free_port
from tests.support.prompt_release import make_prompt_release

from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage

pytestmark = pytest.mark.e2e

CANARY = "canary-7f3a"
ANSWER = (TokenChunk("seven "), TokenChunk("days"), Finished(FinishReason.EOS, Usage(4, 2)))


class Serve:
    """One `weir serve` as a process."""

    def __init__(self, home: Path, release: Path, node_port: int, *arguments: str) -> None:
        self.home, self.port = home, free_port()
        self.log = home / "gateway.log"
        node = f"http://127.0.0.1:{node_port}"
        self._command = [sys.executable, "-m", "weir", "serve", "--node", node, "--release", str(release)]
        self._command += ["--home", str(home), "--port", str(self.port), "--admin-port", "0", *arguments]

    def start(self) -> "Serve":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stderr=log)
        deadline = time.monotonic() + 60
        while self.get("/readyz") != 200:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return self

    def ask(self, key: str | None, text: str = "hi") -> int:
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        body = json.dumps({"inputs": text}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/generate", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                response.read()
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                self.refusal = error.read().decode()
            return error.code

    def get(self, path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    def until(self, key: str | None, status: int, *, within_s: float) -> float:
        began = time.monotonic()
        while self.ask(key) != status:
            assert time.monotonic() - began < within_s, f"not {status} within {within_s} s"
            time.sleep(0.02)
        return time.monotonic() - began


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prompt_release(tmp_path_factory.mktemp("releases"))


@pytest.fixture(scope="module")
def node_port() -> Iterator[int]:
    with running(OipNode(ANSWER)) as port:
        yield port


def weir(home: Path, *arguments: str) -> Any:
    """Run one `weir` command with `--json`."""
    command = [sys.executable, "-m", "weir", *arguments, "--home", str(home), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


@contextmanager
def serving(home: Path, release: Path, node_port: int) -> Iterator[Serve]:
    serve = Serve(home, release, node_port).start()
    try:
        yield serve
    finally:
        serve.process.send_signal(signal.SIGTERM)
        serve.process.wait(30)


@pytest.mark.timed
def test_a_key_works_when_it_is_made_and_not_two_seconds_after_it_was_revoked(
    tmp_path: Path, release: Path, node_port: int
) -> None:
    with serving(tmp_path, release, node_port) as serve:
        assert serve.ask(None) == 200  # nobody has a key, and only this machine can ask
        made = weir(tmp_path, "keys", "create", "bot")
        serve.until(None, 401, within_s=2)
        assert serve.ask(made["key"]) == 200
        rotated = weir(tmp_path, "keys", "rotate", "bot")
        serve.until(made["key"], 401, within_s=2)
        assert serve.ask(rotated["key"]) == 200
        weir(tmp_path, "keys", "revoke", "bot")
        serve.until(rotated["key"], 401, within_s=2)


@pytest.mark.timed
def test_a_kill_loses_at_most_a_second_of_counts(tmp_path: Path, release: Path, node_port: int) -> None:
    key = weir(tmp_path, "keys", "create", "bot")["key"]
    serve = Serve(tmp_path, release, node_port).start()
    assert [serve.ask(key) for _ in range(7)] == [200] * 7
    time.sleep(1.0)
    serve.process.kill()
    serve.process.wait(30)

    (row,) = weir(tmp_path, "keys", "usage")
    assert (row["requests"], row["generated_tokens"]) == (7, 14)
    with serving(tmp_path, release, node_port) as again:
        assert again.ask(key) == 200
    (row,) = weir(tmp_path, "keys", "usage")
    assert row["requests"] == 8, "the last counts are written when a gateway ends"


def test_a_locked_database_holds_up_no_request_and_loses_nothing(tmp_path: Path, release: Path, node_port: int) -> None:
    key = weir(tmp_path, "keys", "create", "bot")["key"]
    with serving(tmp_path, release, node_port) as serve:
        serve.ask(key)
        with sqlite3.connect(tmp_path / "gateway.sqlite", isolation_level=None) as locker:
            locker.execute("BEGIN EXCLUSIVE")
            began = time.monotonic()
            assert [serve.ask(key) for _ in range(20)] == [200] * 20
            assert time.monotonic() - began < 10
            time.sleep(2.5)  # longer than a write waits
            assert serve.ask(key) == 200
            locker.execute("ROLLBACK")
        locker.close()
        deadline = time.monotonic() + 15
        while weir(tmp_path, "keys", "usage")[0]["requests"] < 22:
            assert time.monotonic() < deadline, serve.log.read_text()


def test_known_keys_go_on_when_the_database_file_is_gone(tmp_path: Path, release: Path, node_port: int) -> None:
    key = weir(tmp_path, "keys", "create", "bot")["key"]
    with serving(tmp_path, release, node_port) as serve:
        for file in tmp_path.glob("gateway.sqlite*"):
            file.unlink()
        deadline = time.monotonic() + 10
        while "database_away" not in serve.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert serve.ask(key) == 200
        assert serve.ask(None) == 401
        stranger = weir(tmp_path / "elsewhere", "keys", "create", "x")["key"]
        assert serve.ask(stranger) == 503


def test_a_public_address_without_keys_is_refused(tmp_path: Path, release: Path) -> None:
    command = [sys.executable, "-m", "weir", "serve", "--node", "http://127.0.0.1:1", "--release", str(release)]
    command += ["--home", str(tmp_path), "--host", "0.0.0.0", "--port", str(free_port()), "--admin-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"weir keys create NAME --home {tmp_path}" in done.stderr
    assert "--allow-anonymous" in done.stderr


def test_a_canary_is_in_no_file_that_a_gateway_leaves(tmp_path: Path, release: Path, node_port: int) -> None:
    key = weir(tmp_path, "keys", "create", "bot")["key"]
    with serving(tmp_path, release, node_port) as serve:
        assert serve.ask(key, CANARY) == 200
        assert serve.ask(f"wk_{CANARY}", CANARY) == 401
        assert CANARY not in serve.refusal
    assert weir(tmp_path, "audit", "tail")["status"] == 200
    for file in tmp_path.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        for secret in (CANARY, key, key[16:-6], "seven days"):
            assert secret.encode() not in content, file.name
