"""The guard's policy while requests run: files that change, bad ones, many workers, slow readers, what is kept."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import Gateway, Stage, answer, gateway, running
from tests.support.oip_node import OipNode
from tests.support.process import GatewayProcess, gateway_process
from tests.support.processes import eventually
from tests.support.surfaces import text_of

from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage
from weir.gateway.reloading import Reloader
from weir.gateway.watching import Watch, look
from weir.guard.policy import load_policy

END = Finished(FinishReason.EOS, Usage(5, 40))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def policy_of(terms: str, *, action: str = "redact", name: str = "p") -> str:
    return f"version: 1\nid: {name}\nlists:\n  - {{id: words, file: {terms}, action: {action}, replacement: '#'}}\n"


def write_policy(folder: Path, *terms: str, action: str = "redact") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.txt").write_text("\n".join(terms), encoding="utf-8")
    (folder / "policy.yaml").write_text(policy_of("words.txt", action=action), encoding="utf-8")
    return folder / "policy.yaml"


async def reloaded(reloader: Reloader, until: Any, *, within_s: float = 10.0) -> None:
    """Let the file watch run until something is so."""
    watching = asyncio.create_task(reloader.watch())
    deadline = time.monotonic() + within_s
    while not until():
        assert time.monotonic() < deadline, "was not noticed in time"
        assert not watching.done()
        await asyncio.sleep(0.02)
    watching.cancel()


@pytest.fixture
def watched(release: Path, stage: Stage, tmp_path: Path) -> Iterator[tuple[Gateway, Path]]:
    path = write_policy(tmp_path / "policy", "apple")
    with gateway(release, stage.backend, policy=load_policy(path), cache_mb=1) as weir:
        yield weir, path


def says(weir: Gateway, stage: Stage, *chunks: str) -> str:
    stage.script = answer(*chunks)
    return text_of(weir.post("/generate", {"inputs": "?", "parameters": {"temperature": 1.0}}))


def applied(weir: Gateway) -> float:
    return weir.metric("guard_reloads_total", result="applied")


@pytest.mark.parametrize("change", ["a list in place", "a list put in its place", "the policy"])
def test_a_file_that_changes_is_noticed(watched: tuple[Gateway, Path], stage: Stage, change: str) -> None:
    weir, path = watched
    assert says(weir, stage, "an apple, a pear") == "an #, a pear"
    if change == "the policy":
        path.write_text(policy_of("more.txt"))
        path.with_name("more.txt").write_text("pear")
    elif change == "a list in place":
        path.with_name("words.txt").write_text("pear")
    else:
        path.with_name("new.txt").write_text("pear")
        path.with_name("new.txt").rename(path.with_name("words.txt"))
    asyncio.run(reloaded(Reloader(weir.app.service, path), lambda: applied(weir) == 1))

    assert says(weir, stage, "an apple, a pear") == "an apple, a #"
    sha256 = load_policy(path).sha256[:12]
    assert weir.metric("guard_policy_info", id="p", version="1", sha256=sha256) == 1
    assert sum(
        sample.value
        for metric in weir.app.service.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "weir_gateway_guard_policy_info"
    ) == 1  # fmt: skip


def test_a_configmap_that_kubernetes_replaces_is_noticed(release: Path, stage: Stage, tmp_path: Path) -> None:
    """It turns one link, so that all files change at once."""
    write_policy(tmp_path / "..1", "apple")
    (tmp_path / "..data").symlink_to("..1")
    for name in ("policy.yaml", "words.txt"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    path = tmp_path / "policy.yaml"
    with gateway(release, stage.backend, policy=load_policy(path)) as weir:
        write_policy(tmp_path / "..2", "pear")
        (tmp_path / "..new").symlink_to("..2")
        (tmp_path / "..new").rename(tmp_path / "..data")
        asyncio.run(reloaded(Reloader(weir.app.service, path), lambda: applied(weir) == 1))

        assert says(weir, stage, "an apple, a pear") == "an apple, a #"


@pytest.mark.parametrize(
    "fault", ["words: [", "", "version: 1\nid: p\nlists: [{id: w, file: missing.txt, action: block}]"]
)
def test_a_bad_policy_is_refused_and_the_old_one_stays(
    watched: tuple[Gateway, Path], stage: Stage, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    weir, path = watched
    path.write_text(fault)
    asyncio.run(
        reloaded(Reloader(weir.app.service, path), lambda: weir.metric("guard_reloads_total", result="refused") == 1)
    )

    assert says(weir, stage, "an apple") == "an #"
    assert weir.get("/readyz").status == 200
    assert any(record.message == "reload_refused" and str(path) in record.reason for record in caplog.records)
    write_policy(path.parent, "pear")
    asyncio.run(reloaded(Reloader(weir.app.service, path), lambda: applied(weir) == 1))
    assert says(weir, stage, "a pear") == "a #"


def test_a_change_counts_once_the_files_have_come_to_rest(tmp_path: Path) -> None:
    file = tmp_path / "a"
    watch = Watch()
    watch.settle(look([file]), look([file]))
    seen = []
    for text in ("x", "xy", "xyz", "xyz", "xyz"):
        file.write_text(text) if not seen or len(text) > seen[-1][0] else None
        seen.append((len(text), watch.is_changed(look([file]))))
    assert [is_changed for _, is_changed in seen] == [False, False, False, True, True]
    watch.settle(look([file]), look([file]))
    assert not watch.is_changed(look([file]))
    file.unlink()
    assert [watch.is_changed(look([file])) for _ in range(2)] == [False, True]


def test_a_change_while_the_files_are_read_is_not_missed(tmp_path: Path) -> None:
    file, watch = tmp_path / "a", Watch()
    file.write_text("x")
    before = look([file])
    file.write_text("longer")
    watch.settle(before, look([file]))
    assert [watch.is_changed(look([file])) for _ in range(2)] == [False, True]


def test_streams_that_run_keep_their_policy_and_no_request_fails(watched: tuple[Gateway, Path], stage: Stage) -> None:
    weir, path = watched
    steps = [step for _ in range(30) for step in (TokenChunk("apple "), 0.02, TokenChunk("pear "))]
    stage.script = [*steps, END]
    reloader, stop = Reloader(weir.app.service, path), threading.Event()

    answers: list[str] = []

    def ask(number: int) -> None:
        while not stop.is_set():
            route = "/generate_stream" if number % 2 else "/generate"
            reply = weir.post(route, {"inputs": "?", "parameters": {"temperature": 1.0}})
            answers.append(text_of(reply) if reply.status == 200 else f"failed: {reply.status}")

    def wait_for_answers_that_began_since() -> None:
        enough = len(answers) + 9  # 8 run now
        eventually(lambda: len(answers) >= enough, within_s=60, what="nine more answers")

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(ask, number) for number in range(8)]
        try:
            for round_ in range(6):
                wait_for_answers_that_began_since()
                write_policy(path.parent, "pear" if round_ % 2 == 0 else "apple")
                assert asyncio.run(reloader(with_models=False)) is None
            wait_for_answers_that_began_since()
        finally:
            stop.set()
        for client in clients:
            client.result()
    texts = set(answers)

    whole = {"# pear " * 30, "apple # " * 30}
    assert texts <= {text.replace("  ", " ") for text in whole} | whole
    assert len(texts) == 2
    assert applied(weir) == 6


def test_kept_answers_and_replays_hold_to_the_policy_in_force(watched: tuple[Gateway, Path], stage: Stage) -> None:
    weir, path = watched
    stage.script = answer("a pear")
    sampled = {"inputs": "?", "parameters": {"temperature": 1.0}}
    cached = [weir.post("/generate", {"inputs": "?"}) for _ in range(2)]
    kept = [weir.post("/generate", sampled, idempotency_key="k") for _ in range(2)]
    assert {text_of(reply) for reply in (*cached, *kept)} == {"a pear"}
    assert len(stage.backend.calls) == 2

    write_policy(path.parent, "pear")
    assert asyncio.run(Reloader(weir.app.service, path)(with_models=False)) is None

    assert text_of(weir.post("/generate", {"inputs": "?"})) == "a #"
    assert text_of(weir.post("/generate", sampled, idempotency_key="k")) == "a #"
    again = weir.post("/generate", sampled, idempotency_key="k")
    assert (text_of(again), again.headers["idempotent-replayed"]) == ("a #", "true")


def test_a_slow_reader_gets_the_guarded_text_and_holds_up_nobody(watched: tuple[Gateway, Path], stage: Stage) -> None:
    weir, _ = watched
    stage.script = [*(TokenChunk(text) for _ in range(20_000) for text in ("an ap", "ple, ")), END]
    raw = b'{"inputs": "?"}'
    with closing(socket.socket()) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", weir.port))
        slow.sendall(
            b"POST /generate_stream HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(raw), raw)
        )
        begun = slow.recv(2000)
        time.sleep(0.3)
        began = time.monotonic()
        stage.script = answer("an apple")
        assert text_of(weir.post("/generate", {"inputs": "?", "parameters": {"temperature": 1.0}})) == "an #"
        assert time.monotonic() - began < 2  # the slow stream itself would take for ever
        for _ in range(100):
            begun += slow.recv(4000)
    assert b"#" in begun
    assert b"ap" not in begun.partition(b"\r\n\r\n")[2].replace(b"chunk", b"")


@pytest.fixture
def process(release: Path, tmp_path: Path) -> Iterator[tuple[GatewayProcess, Path]]:
    path = write_policy(tmp_path / "policy", "apple", action="block")
    node = OipNode(answer("ok"))
    with (
        running(node) as port,
        gateway_process(release, f"http://127.0.0.1:{port}", tmp_path, "--guard", str(path), "--workers", "2") as weir,
    ):
        yield weir, path


def test_all_workers_end_up_with_the_policy_that_the_files_say(process: tuple[GatewayProcess, Path]) -> None:
    weir, path = process
    was = load_policy(path).sha256[:12]
    weir.eventually(lambda: weir.metric("guard_policy_info", id="p", version="1", sha256=was) == 2)
    write_policy(path.parent, "pear", action="block")
    now = load_policy(path).sha256[:12]

    weir.eventually(lambda: weir.metric("guard_policy_info", id="p", version="1", sha256=now) == 2, within_s=20)

    assert weir.metric("guard_policy_info", id="p", version="1", sha256=was) == 0
    assert {_status(weir, text) for text in ["apple"] * 8} == {200}
    assert {_status(weir, text) for text in ["pear"] * 8} == {422}


def _status(weir: GatewayProcess, text: str) -> int:
    raw = json.dumps({"inputs": text}).encode()
    with closing(socket.create_connection(("127.0.0.1", weir.port), timeout=10)) as connection:
        connection.sendall(
            b"POST /generate HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(raw), raw)
        )
        return int(connection.recv(64).split()[1])
