"""What an operator sees of real processes: traces, logs, and what `weir doctor` says of them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import processes
from tests.support.collector import Collector, collector
from tests.support.processes import Server
from tests.support.tiny_release import make_tiny_release

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@dataclass
class Stack:
    node: Server
    gateway: Server
    spans: Collector
    release: Path
    home: Path


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("traced")
    release = make_tiny_release(tmp_path_factory.mktemp("releases"), model="faq")
    with collector() as spans:
        node = processes.node(release, folder / "node.log", home=str(folder / "node"))
        node.settings = {"WEIR_NODE_TRACING__ENDPOINT": spans.url}
        settings = {"tracing__endpoint": spans.url, "edge__workers": "2"}
        gateway = processes.gateway(release, [node], folder / "gateway.log", settings=settings)
        try:
            node.start()
            gateway.start()
            yield Stack(node, gateway, spans, release, folder / "gateway")
        finally:
            gateway.stop()
            node.stop()


def test_a_request_is_one_trace_and_one_id_in_gateway_and_node(stack: Stack) -> None:
    body = {"inputs": "How do I return an order?", "parameters": {"max_new_tokens": 3}}
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x_request_id": "end-to-end-7"}
    assert stack.gateway.ask("POST", "/generate", body, **headers).status == 200
    stack.spans.wait_for(lambda: len(stack.spans.spans) >= 6)
    spans = stack.spans
    http, generation, call = spans.one("POST /generate"), _of(spans, "weir-gateway"), spans.one("node")
    node = _of(spans, "weir-node")

    assert {span.trace_id for span in spans.spans} == {TRACE}
    assert http.parent_id == PARENT
    assert (generation.parent_id, call.parent_id, node.parent_id) == (http.span_id, generation.span_id, call.span_id)
    assert node.attributes["weir.request_id"] == generation.attributes["weir.request_id"] == "end-to-end-7"
    assert node.attributes["gen_ai.usage.output_tokens"] == generation.attributes["gen_ai.usage.output_tokens"] == 3
    assert call.began <= node.began <= node.events["first_token"] <= call.events["first_token"]
    for server in (stack.gateway, stack.node):
        line = _request_line(server, "end-to-end-7")
        assert (line["trace_id"], line["generated_tokens"]) == (TRACE, 3)


def test_the_doctor_finds_nothing_wrong_with_what_runs(stack: Stack, tmp_path: Path) -> None:
    settings = {
        "home": str(stack.home),
        "nodes": [{"name": "cpu-0", "url": stack.node.url}],
        "releases": [str(stack.release)],
        "port": stack.gateway.port,
        "edge": {"admin_port": stack.gateway.admin_port},
        "tracing": {"endpoint": stack.spans.url},
    }
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "weir", "doctor", "--config", str(tmp_path / "gateway.yaml"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=processes.ROOT)
    found = json.loads(done.stdout)
    by_check = {finding["check"]: finding for finding in found["findings"]}

    assert (done.returncode, found["fail"]) == (0, 0), done.stdout
    for check in ("node cpu-0", "model at cpu-0", "clock of cpu-0", "database", "policy", "tracing"):
        assert by_check[check]["level"] == "ok", by_check[check]
    assert "is held by process" in by_check["gateway port"]["says"]
    assert by_check["gateway port"]["level"] == by_check["admin port"]["level"] == "ok"


def test_what_was_traced_last_is_sent_before_a_process_ends(stack: Stack) -> None:
    trace = TRACE[::-1]
    body = {"inputs": "When?", "parameters": {"max_new_tokens": 2}}
    assert stack.gateway.ask("POST", "/generate", body, traceparent=f"00-{trace}-{PARENT}-01").status == 200
    assert stack.gateway.terminate() == 0
    assert stack.node.terminate() == 0

    assert len([span for span in stack.spans.spans if span.trace_id == trace]) == 6


def _of(spans: Collector, service: str) -> Any:
    (span,) = [span for span in spans.named("text_completion faq") if span.service == service]
    return span


def _request_line(server: Server, request_id: str) -> dict[str, Any]:
    processes.eventually(lambda: request_id in server.text(), within_s=20, what=f"{request_id} in a log")
    lines = [json.loads(line) for line in server.text().splitlines() if line.startswith("{")]
    (found,) = [line for line in lines if line["event"] == "request_done" and line["request_id"] == request_id]
    return found


def test_logs_of_both_are_json_from_the_first_line_to_the_last(stack: Stack) -> None:
    for server in (stack.gateway, stack.node):
        lines = Path(server.log).read_text().splitlines()
        assert len(lines) > 3
        assert all(json.loads(line)["service"] in {"gateway", "node"} for line in lines)
