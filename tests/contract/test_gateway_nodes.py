"""A running gateway's list of nodes: read again when told, shown to the operator."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import answer, asked, running
from tests.support.oip_node import OipNode
from tests.support.process import GatewayProcess, gateway_process
from tests.support.prompt_release import change_manifest, make_prompt_release

from weir.gateway.admin_nodes import nodes_shown
from weir.release.reader import read_manifest


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


def answering(weir: GatewayProcess) -> str:
    """Ask; return the node that answered."""
    reply = asked(weir.port, "POST", "/generate", {"inputs": "?"})
    assert reply.status == 200, reply.body
    return reply.headers["x-weir-node"]


def test_a_reload_reads_the_settings_nodes_again_and_the_admin_port_shows_them(tmp_path: Path, urls: list[str]) -> None:
    workers = 2
    release, config = make_prompt_release(tmp_path / "releases"), tmp_path / "gateway.yaml"
    written(config, "nodes", {"a": urls[0]})
    flags = ("--config", str(config), "--workers", str(workers))
    with gateway_process(release, None, tmp_path, *flags) as weir:
        weir.eventually(lambda: weir.log.count('"node_ready"') == workers)
        assert shown(weir)["a"]["healthy"] is True
        assert answering(weir) == "a"

        written(config, "nodes", {"b": urls[1], "c": urls[2]})
        assert weir.status("/admin/reload", admin=True, method="POST") == 202
        weir.eventually(
            lambda: set(shown(weir)) == {"b", "c"} and all(n["healthy"] for n in shown(weir).values()), within_s=30
        )
        assert {answering(weir) for _ in range(6)} <= {"b", "c"}

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


BOTH = ("cpu-fp32", "cuda-fp16")


def release_that_proves(folder: Path, model: str, *flavours: str) -> Path:
    root = make_prompt_release(folder, model=model)
    (known,) = read_manifest(root).formats
    change_manifest(root, formats=tuple(known.model_copy(update={"flavour": flavour}) for flavour in flavours))
    return root


@contextmanager
def gpu_and_cpu(
    folder: Path, faq: tuple[str, ...], big: tuple[str, ...], gpu_says: dict[str, str]
) -> Iterator[tuple[GatewayProcess, OipNode]]:
    """A gateway with two releases and what each proves, over a GPU node and a CPU node."""
    gpu, cpu = (OipNode(lambda asked: [0.02, *answer("ok")(asked)]) for _ in range(2))
    gpu.flavours, cpu.flavours = gpu_says, {"faq": "cpu-fp32", "big": "cpu-fp32"}
    roots = [release_that_proves(folder / "releases", *each) for each in (("faq", *faq), ("big", *big))]
    with running(gpu) as first, running(cpu) as second:
        file = folder / "nodes.yaml"
        nodes = [("gpu", first), ("cpu", second)]
        file.write_text(json.dumps([{"name": n, "pool": n, "url": f"http://127.0.0.1:{port}"} for n, port in nodes]))
        with gateway_process(roots[0], None, folder, "--release", str(roots[1]), "--nodes-file", str(file)) as weir:
            weir.eventually(lambda: [node["healthy"] for node in shown(weir).values()] == [True, True])
            yield weir, gpu


def answers(weir: GatewayProcess, model: str) -> set[tuple[str, str]]:
    """Which nodes answer for a model when there is much to do, with which flavour."""
    with ThreadPoolExecutor(8) as clients:
        body = {"model": model, "prompt": "?"}
        replies = list(clients.map(lambda _: asked(weir.port, "POST", "/v1/completions", body), range(24)))
    return {(reply.headers["x-weir-node"], reply.headers["x-weir-flavour"]) for reply in replies}


def test_nodes_are_mixed_only_where_the_release_that_is_asked_for_proves_it(tmp_path: Path) -> None:
    with gpu_and_cpu(tmp_path, BOTH, ("cpu-fp32",), {"faq": "cuda-fp16", "big": "cuda-fp16"}) as (weir, _):
        assert answers(weir, "faq") == {("gpu", "cuda-fp16"), ("cpu", "cpu-fp32")}
        assert answers(weir, "big") == {("cpu", "cpu-fp32")}
        assert weir.metric("pool_nodes", pool="proven", use="first") == 2
        assert weir.metric("pool_nodes", pool="big/proven", use="first") == 1
        assert weir.metric("pool_nodes", pool="big/gpu/cuda-fp16", use="standby") == 1
        assert weir.log.count('"flavours_kept_apart"') == 1


def test_what_the_default_release_does_not_prove_another_one_may(tmp_path: Path) -> None:
    with gpu_and_cpu(tmp_path, ("cpu-fp32",), BOTH, {"faq": "cuda-fp16", "big": "cuda-fp16"}) as (weir, _):
        assert answers(weir, "faq") == {("cpu", "cpu-fp32")}
        assert answers(weir, "big") == {("gpu", "cuda-fp16"), ("cpu", "cpu-fp32")}


def test_a_node_is_judged_by_the_flavour_that_it_has_of_the_model_that_is_asked_for(tmp_path: Path) -> None:
    with gpu_and_cpu(tmp_path, BOTH, BOTH, {"faq": "cuda-fp16", "big": "cuda-int4"}) as (weir, _):
        assert answers(weir, "faq") == {("gpu", "cuda-fp16"), ("cpu", "cpu-fp32")}
        assert answers(weir, "big") == {("cpu", "cpu-fp32")}


def test_a_model_is_not_asked_for_at_a_node_that_does_not_serve_it_until_it_does(tmp_path: Path) -> None:
    with gpu_and_cpu(tmp_path, BOTH, BOTH, {"faq": "cuda-fp16"}) as (weir, gpu):
        assert answers(weir, "big") == {("cpu", "cpu-fp32")}
        assert gpu.paths == []
        gpu.flavours = {"faq": "cuda-fp16", "big": "cuda-fp16"}
        weir.eventually(lambda: answers(weir, "big") == {("gpu", "cuda-fp16"), ("cpu", "cpu-fp32")})
