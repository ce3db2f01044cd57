"""A running gateway's list of nodes: read again when told, shown to the operator."""

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import answer, running
from tests.support.oip_node import OipNode
from tests.support.process import GatewayProcess, gateway_process
from tests.support.prompt_release import make_prompt_release

from weir.gateway.admin_nodes import nodes_shown


@pytest.fixture
def urls() -> Iterator[list[str]]:
    """Three nodes."""
    with ExitStack() as stack:
        ports = [stack.enter_context(running(OipNode(answer(text)))) for text in "abc"]
        yield [f"http://127.0.0.1:{port}" for port in ports]


def written(path: Path, key: str | None, urls: dict[str, str]) -> None:
    nodes = [{"name": name, "url": url} for name, url in urls.items()]
    path.write_text(json.dumps(nodes if key is None else {key: nodes}), encoding="utf-8")  # JSON is YAML


def shown(weir: GatewayProcess) -> dict[str, dict[str, Any]]:
    status, text = weir.ask("/admin/nodes", admin=True)
    return {node["name"]: node for node in json.loads(text)["nodes"]} if status == 200 else {}


def asked(weir: GatewayProcess) -> str | None:
    """Ask for an answer on a connection of its own; return the node that gave it."""
    with closing(http.client.HTTPConnection("127.0.0.1", weir.port, timeout=15)) as connection:
        connection.request("POST", "/generate", json.dumps({"inputs": "?"}), {"content-type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        return response.headers["x-weir-node"]


def test_a_reload_reads_the_settings_nodes_again_and_the_admin_port_shows_them(tmp_path: Path, urls: list[str]) -> None:
    workers = 2
    release, config = make_prompt_release(tmp_path / "releases"), tmp_path / "gateway.yaml"
    written(config, "nodes", {"a": urls[0]})
    flags = ("--config", str(config), "--workers", str(workers))
    with gateway_process(release, None, tmp_path, *flags) as weir:
        weir.eventually(lambda: weir.log.count('"node_ready"') == workers)
        assert shown(weir)["a"]["healthy"] is True
        assert asked(weir) == "a"

        written(config, "nodes", {"b": urls[1], "c": urls[2]})
        assert weir.status("/admin/reload", admin=True, method="POST") == 202
        weir.eventually(
            lambda: set(shown(weir)) == {"b", "c"} and all(n["healthy"] for n in shown(weir).values()), within_s=30
        )
        assert {asked(weir) for _ in range(6)} <= {"b", "c"}

        config.write_text("nodes: [{name: b, url: nowhere}]", encoding="utf-8")
        weir.status("/admin/reload", admin=True, method="POST")
        weir.eventually(lambda: weir.metric("config_reloads_total", result="refused") == workers)
        assert set(shown(weir)) == {"b", "c"}


def test_the_admin_port_says_what_the_metrics_say() -> None:
    text = """# HELP weir_gateway_node_healthy 1: its last probe succeeded.
weir_gateway_node_healthy{node="b"} 0.0
weir_gateway_node_healthy{node="a"} 1.0
weir_gateway_circuit_state{node="a"} 2.0
weir_gateway_node_in_flight{node="a"} 3.0
weir_gateway_node_pace{node="a"} 1.266
weir_gateway_pool_nodes{pool="proven",use="first"} 1.0
weir_gateway_pool_nodes{pool="gpu/unknown",use="standby"} 2.0
"""
    assert nodes_shown(text) == {
        "nodes": [
            {"name": "a", "healthy": True, "circuit_state": "open", "in_flight": 3, "pace": 1.27},
            {"name": "b", "healthy": False},
        ],
        "pools": [
            {"pool": "proven", "use": "first", "nodes": 1},
            {"pool": "gpu/unknown", "use": "standby", "nodes": 2},
        ],
    }
