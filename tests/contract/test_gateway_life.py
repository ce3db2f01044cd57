"""A gateway's life as a process: workers, metrics, reload, drain."""

import asyncio
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.gateway import answer, asked, gateway
from tests.support.load import Load
from tests.support.noded import END, node, node_url, release
from tests.support.oip_node import OipNode, words_until
from tests.support.ports import free_port
from tests.support.process import gateway_process
from tests.support.prompt_release import make_prompt_release

from weir.backends.scripted import ScriptedBackend
from weir.contracts.events import TokenChunk
from weir.gateway.reloading import Reloader

__all__ = ["node", "node_url", "release"]

CANARY = "canary-7f3a"
DONE = {"backend": "cpu", "code": "200", "model": "faq", "route": "/generate"}


def ask(port: int, path: str = "/generate", text: str = "?") -> tuple[int, bytes]:
    """One request on a connection of its own."""
    reply = asked(port, "POST", path, {"inputs": text})
    return reply.status, reply.body


def test_metrics_have_their_own_port_and_closed_labels(release: Path, node_url: str, tmp_path: Path) -> None:
    with gateway_process(release, node_url, tmp_path) as weir:
        assert ask(weir.port, text=CANARY)[0] == 200
        assert ask(weir.port, f"/{CANARY}")[0] == 404
        weir.eventually(lambda: weir.metric("requests_total", **DONE) == 1)
        status, text = weir.ask("/metrics", admin=True)

        assert weir.status("/metrics") == 404
        assert weir.status("/livez", admin=True) == 200
        assert weir.status("/generate", admin=True, method="POST") == 404

    assert status == 200
    assert 'weir_gateway_build_info{version="' in text
    assert CANARY not in text
    assert _histograms_are_sound(text)


def _histograms_are_sound(text: str) -> bool:
    """Buckets grow, the last one is the count."""
    counts = dict(re.findall(r"^(\w+)_count(?:\{.*\})? (\S+)$", text, re.MULTILINE))
    assert counts
    for name in counts:
        series: dict[str, list[float]] = {}
        for labels, value in re.findall(rf"^{name}_bucket\{{(.*)\}} (\S+)$", text, re.MULTILINE):
            series.setdefault(re.sub(r'le="[^"]*",?', "", labels).rstrip(","), []).append(float(value))
        totals = re.findall(rf"^{name}_count(?:\{{(.*)\}})? (\S+)$", text, re.MULTILINE)
        for labels, total in totals:
            assert series[labels] == sorted(series[labels])
            assert series[labels][-1] == float(total)
    return True


def test_every_documented_metric_of_the_gateway_is_exposed(release: Path, node_url: str, tmp_path: Path) -> None:
    documented = set(re.findall(r"^\| `(weir_gateway_\w+)` ", Path("docs/api.md").read_text(), re.MULTILINE))
    with gateway_process(release, node_url, tmp_path) as weir:
        _, text = weir.ask("/metrics", admin=True)
    exposed = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    families_with_labels_only = documented - exposed

    assert exposed <= documented
    assert {"weir_gateway_draining", "weir_gateway_build_info", "weir_gateway_queue_wait_seconds"} <= exposed
    assert all("{" not in name for name in families_with_labels_only)


def test_a_scrape_holds_up_no_stream(release: Path, node: OipNode, node_url: str, tmp_path: Path) -> None:
    node.script = (*(step for _ in range(150) for step in (TokenChunk("一 "), 0.01)), END)
    with gateway_process(release, node_url, tmp_path) as weir, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, weir.port, "/generate_stream")
        time.sleep(0.2)
        while not asked.done():
            assert weir.status("/metrics", admin=True) == 200
        status, body = asked.result()

    assert status == 200
    assert body.count("一 ".encode()) >= 300  # each token once by itself, and all in the last event


def test_the_admin_port_can_be_off_and_the_main_one_never_shows_metrics(
    release: Path, node_url: str, tmp_path: Path
) -> None:
    with gateway_process(release, node_url, tmp_path, "--admin-port", "0") as weir:
        assert weir.status("/metrics", admin=True) == 0
        assert weir.status("/metrics") == 404


def test_a_taken_admin_port_is_named(release: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "weir.gateway", "--node", "http://127.0.0.1:1", "--release", str(release)]
        command += ["--port", str(free_port()), "--admin-port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert f"port {port} on 127.0.0.1 is in use; choose another one with --admin-port" in done.stderr


def policy_text(name: str, direction: str, term: str, action: str = "block") -> str:
    return (
        f"version: 1\nid: {name}\nrules:\n"
        f"  - {{id: {name}, direction: [{direction}], action: {action}, terms: [{term}]}}\n"
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_drops_no_request_and_a_bad_file_changes_nothing(
    release: Path, node_url: str, tmp_path: Path, workers: int
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(policy_text("a", "input", "apple"))
    flags = ("--guard", str(policy), "--workers", str(workers))
    with (
        gateway_process(release, node_url, tmp_path, *flags) as weir,
        Load(lambda: asked(weir.port, "POST", "/generate", {"inputs": "?"})) as load,
    ):
        assert ask(weir.port, text="apple pie")[0] == 422
        weir.eventually(lambda: weir.metric("guard_reloads_total", result="unchanged") == workers)  # all are up
        policy.write_text(policy_text("b", "input", "pear"))
        make_prompt_release(release.parents[1], version=2)
        assert weir.status("/admin/reload", admin=True, method="POST") == (200 if workers == 1 else 202)
        weir.eventually(lambda: weir.metric("config_reloads_total", result="applied") == workers)
        assert {ask(weir.port, text="apple pie")[0] for _ in range(8)} == {200}
        assert {ask(weir.port, text="pear pie")[0] for _ in range(8)} == {422}

        policy.write_text(policy_text("c", "input", "plum", "explode"))
        os.kill(weir.process.pid, signal.SIGHUP)
        weir.eventually(lambda: weir.metric("config_reloads_total", result="refused") == workers)
        assert ask(weir.port, text="pear pie")[0] == 422
        if workers == 1:
            status, reason = weir.ask("/admin/reload", admin=True, method="POST")
            assert (status, "explode" in reason or "policy.yaml" in reason) == (422, True)

    assert load.wrong == []
    assert load.done > 20
    assert '"reload_refused"' in weir.log


def test_after_a_reload_no_cached_answer_escapes_the_new_policy(release: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(policy_text("b", "output", "pear"))
    backend = ScriptedBackend(answer("a ", "pear ", "pie"))
    question = {"inputs": "?", "parameters": {"details": True}}
    with gateway(release, backend, cache_mb=1) as weir:
        first, again = weir.post("/generate", question), weir.post("/generate", question)
        assert first.json["generated_text"] == again.json["generated_text"] == "a pear pie"
        assert len(backend.calls) == 1
        assert asyncio.run(Reloader(weir.app.service, policy)()) is None
        after = weir.post("/generate", question)

        assert weir.metric("config_reloads_total", result="applied") == 1
    assert "pear" not in after.json.get("generated_text", "")
    assert len(backend.calls) == 2


def test_no_web_page_can_reload(release: Path, node_url: str, tmp_path: Path) -> None:
    with gateway_process(release, node_url, tmp_path) as weir:
        with closing(http.client.HTTPConnection("127.0.0.1", weir.admin_port, timeout=5)) as connection:
            connection.request("POST", "/admin/reload", headers={"origin": "http://evil.example"})
            assert connection.getresponse().status == 403
        assert weir.metric("config_reloads_total", result="applied") == 0


def test_workers_share_the_port_and_their_counts_are_added(release: Path, node_url: str, tmp_path: Path) -> None:
    with gateway_process(release, node_url, tmp_path, "--workers", "2") as weir:
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _: ask(weir.port)[0], range(200)))
        assert statuses == [200] * 200
        weir.eventually(lambda: weir.metric("requests_total", **DONE) == 200)
        assert weir.metric("requests_in_flight", route="/generate") == 0
        assert weir.metric("node_healthy", node="cpu-0") == 1
        assert weir.metric("request_duration_seconds_count", model="faq", route="/generate") == 200
        assert len(weir.children()) == 3  # two workers, and one that answers the admin port

        weir.process.send_signal(signal.SIGTERM)
        assert weir.process.wait(15) == 0


def test_gauges_of_workers_are_added_while_requests_run(
    release: Path, node: OipNode, node_url: str, tmp_path: Path
) -> None:
    told = threading.Event()
    node.script = words_until(told)
    with (
        gateway_process(release, node_url, tmp_path, "--workers", "2") as weir,
        ThreadPoolExecutor(6) as pool,
    ):
        asked = [pool.submit(ask, weir.port, "/generate_stream") for _ in range(6)]
        weir.eventually(lambda: weir.metric("requests_in_flight", route="/generate_stream") == 6)
        told.set()
        assert [one.result()[0] for one in asked] == [200] * 6


def test_a_killed_worker_is_replaced_and_its_counts_stay(release: Path, node_url: str, tmp_path: Path) -> None:
    with gateway_process(release, node_url, tmp_path, "--workers", "2") as weir:
        victim = weir.children()[0]
        with Load(lambda: asked(weir.port, "POST", "/generate", {"inputs": "?"})) as load:
            weir.eventually(lambda: load.done > 30)
            os.kill(victim, signal.SIGKILL)
            weir.eventually(lambda: victim not in weir.children() and len(weir.children()) == 3)
            so_far = load.done
            weir.eventually(lambda: load.done > so_far + 30)

        # What the victim had in its hands is lost, and the counts of its last hundredth of a second; an answer that it
        # had counted may not have arrived.
        assert len(load.wrong) <= 4
        weir.eventually(lambda: weir.metric("requests_in_flight", route="/generate") == 0)
        counted = weir.metric("requests_total", **DONE)
        assert load.done - 12 <= counted <= load.done + len(load.wrong)
        assert _histograms_are_sound(weir.ask("/metrics", admin=True)[1])
        assert '"died"' in weir.log


def test_workers_that_cannot_start_end_the_gateway_with_their_reason(release: Path, tmp_path: Path) -> None:
    (release / "model" / "tokenizer.json").write_text("{}")
    command = [sys.executable, "-m", "weir.gateway", "--node", "http://127.0.0.1:1", "--release", str(release)]
    command += ["--port", str(free_port()), "--workers", "2", "--admin-port", "0", "--home", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert "tokenizer.json is not the file its manifest names" in done.stderr


def test_with_an_admin_token_only_its_holder_reloads(
    release: Path, node_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIR_GATEWAY_ACCESS__ADMIN_TOKEN", "sixteen-characters-at-least")
    with gateway_process(release, node_url, tmp_path) as weir:
        assert weir.status("/admin/reload", admin=True, method="POST") == 401
        with closing(http.client.HTTPConnection("127.0.0.1", weir.admin_port, timeout=5)) as connection:
            connection.request("POST", "/admin/reload", headers={"authorization": "Bearer sixteen-characters-at-least"})
            assert connection.getresponse().status == 200
        assert weir.metric("config_reloads_total", result="applied") == 1
