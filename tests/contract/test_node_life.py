"""The CPU node's life: loading and unloading, settings, connections, signals."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest
from tests.support.served_node import Node, body, serve, slow_down, until
from tests.support.tiny_release import PROMPTS, make_tiny_release, write_manifest

from weir.backends.http_node import HttpNode
from weir.contracts.errors import UsageError
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.cpu_node.server import find_release
from weir.cpu_node.settings import load_node_settings

LONG = {"max_tokens": 480, "ignore_eos": True}


# loading


async def load(node: Node, parameters: dict, model: str = "tiny") -> tuple[int, dict]:
    async with node.post(f"/v2/repository/models/{model}/load", {"parameters": parameters}) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("how", ["version", "path", "newest"])
async def test_a_new_version_loads_while_the_old_one_finishes_its_streams(node: Node, how: str) -> None:
    old = node.engine
    slow_down(old, 0.005)
    running = asyncio.create_task(node.events(body(sampling={"max_tokens": 60, "ignore_eos": True})))
    await until(lambda: old.stats.running == 1)
    path = str(node.home / "releases" / "tiny" / "2")
    parameters = {"version": {"version": 2}, "path": {"path": path}, "newest": {}}[how]
    status, answer = await load(node, parameters)
    assert (status, answer["version"], answer["state"]) == (200, "2", "READY")
    assert {e["model_version"] for e in await node.events(body())} == {"2"}
    events = await running
    assert sum(e["num_output_tokens"] for e in events) == 60
    assert {e["model_version"] for e in events} == {"1"}
    await until(lambda: not old.ready)
    assert node.metric("weir_node_model_info", model="tiny", version="1", flavour="cpu-fp32") is None
    assert node.metric("weir_node_model_info", model="tiny", version="2", flavour="cpu-int8") == 1
    async with node.post("/v2/repository/index", b"") as response:
        assert await response.json() == [{"name": "tiny", "version": "2", "state": "READY", "reason": ""}]


def _altered(root: Path) -> None:
    weights = root / "onnx" / "cpu-fp32" / "model.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")


def _broken_graph(root: Path) -> None:
    (root / "onnx" / "cpu-fp32" / "model.onnx").write_bytes(b"no graph")
    write_manifest(root, model="tiny", version=9, precisions=("fp32",))


@pytest.mark.parametrize("damage", [_altered, _broken_graph, lambda root: (root / "COMPLETE").unlink()])
async def test_a_failed_load_leaves_the_old_version_serving(tmp_path: Path, damage) -> None:
    make_tiny_release(tmp_path / "releases", precisions=("fp32",))
    damage(make_tiny_release(tmp_path / "releases", version=9, precisions=("fp32",)))
    async with serve(tmp_path) as node:
        status, answer = await load(node, {"version": 9})
        assert status == 500
        assert answer["code"] == "release_refused"
        assert {e["model_version"] for e in await node.events(body())} == {"1"}
        assert await node.status("/v2/health/ready") == 200
        if damage is not None and (tmp_path / "releases/tiny/9/COMPLETE").exists():
            assert node.metric("weir_node_loads_total", result="refused") == 1


@pytest.mark.parametrize(
    ("model", "parameters", "status"),
    [
        ("tiny", {"version": 77}, 404),
        ("tiny", {"version": "../1"}, 422),
        ("tiny", {"version": True}, 422),
        ("tiny", {"path": "/etc"}, 422),
        ("tiny", {"path": 3}, 422),
        ("other", {}, 404),
        (".hidden", {}, 422),
        ("UPPER", {}, 422),
    ],
)
async def test_only_releases_beneath_the_configured_folders_load(node: Node, model, parameters, status) -> None:
    assert (await load(node, parameters, model))[0] == status
    escaping = {"path": str(node.home / "releases" / ".." / ".." / "elsewhere")}
    assert (await load(node, escaping))[0] == 422
    assert await node.status("/v2/models/tiny/versions/1") == 200


async def test_a_link_out_of_the_folders_is_not_followed(tmp_path: Path, releases: Path) -> None:
    make_tiny_release(tmp_path / "home" / "releases", precisions=("fp32",))
    (tmp_path / "home" / "releases" / "tiny" / "2").symlink_to(releases / "releases" / "tiny" / "2")
    async with serve(tmp_path / "home") as node:
        assert (await load(node, {"version": 2}))[0] == 422
    async with serve(tmp_path / "home", model_repository=releases / "releases") as node:
        assert (await load(node, {"version": 2}))[0] == 200


async def test_unloading_stops_serving(node: Node) -> None:
    async with node.post("/v2/repository/models/tiny/unload", b"") as response:
        assert response.status == 200
    assert await node.status("/v2/health/ready") == 503
    assert await node.status("/v2/models/tiny/ready") == 404
    async with node.post("/v2/repository/models/tiny/unload", b"") as response:
        assert response.status == 404


# settings and process


def test_flags_beat_environment_beats_yaml_beats_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "node.yaml"
    config.write_text("port: 1111\nthreads: 3\nmax_waiting: 5\n")
    monkeypatch.setenv("WEIR_NODE_THREADS", "4")
    monkeypatch.setenv("WEIR_NODE_PORT", "2222")
    monkeypatch.setenv("WEIR_HOME", str(tmp_path))
    settings = load_node_settings({"port": 3333, "host": None}, config)
    assert (settings.port, settings.threads, settings.max_waiting, settings.max_running) == (3333, 4, 5, 16)
    assert settings.home == tmp_path
    assert load_node_settings({"home": tmp_path / "x"}).home == tmp_path / "x"


@pytest.mark.parametrize(
    ("text", "words"), [("treads: 2", "did you mean 'threads'"), ("threads: many", "threads"), ("a: [", "not YAML")]
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, words: str) -> None:
    config = tmp_path / "node.yaml"
    config.write_text(text)
    with pytest.raises(UsageError, match=words):
        load_node_settings({}, config)


def test_a_release_is_found_by_folder_by_name_or_by_being_the_only_one(releases: Path) -> None:
    root = releases / "releases"
    assert find_release(None, root) == find_release("tiny", root) == root / "tiny" / "2"
    assert find_release(str(root / "tiny" / "1"), root) == root / "tiny" / "1"
    assert find_release(str(root / "tiny"), root / "elsewhere") == root / "tiny" / "2"  # as `weir serve` takes it
    with pytest.raises(UsageError, match="nowhere"):
        find_release("nowhere", root)


def _start(home: Path, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "weir.cpu_node", "tiny", "--home", str(home), "--port", str(port), "--threads=1"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"NO_COLOR": "1"})


def test_a_taken_port_is_a_usage_error_that_names_it(releases: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = _start(releases, port)
        _, words = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"port {port} on 127.0.0.1 is in use" in words


async def test_a_terminated_process_finishes_its_stream_and_ends_with_0(releases: Path) -> None:
    process = _start(releases, 0)
    assert process.stderr is not None
    lines = []
    while not lines or lines[-1]["event"] != "listening":
        lines.append(json.loads(await asyncio.to_thread(process.stderr.readline)))
    url = f"http://127.0.0.1:{lines[-1]['port']}/v2/models/tiny"
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{url}/generate_stream", json=body("order " * 60, LONG | {"max_tokens": 300})) as response,
    ):
        async with client.get(f"{url}/ready") as idle:  # its connection waits for a next request
            assert "connection" not in idle.headers
        process.send_signal(signal.SIGTERM)
        raw = (await response.read()).decode()
    assert '"finish_reason":"length"' in raw
    rest = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 0
    events = [json.loads(line) for line in rest[1].splitlines()]
    assert [e["event"] for e in events] == ["draining", "request_done", "stopped"]
    assert "order" not in rest[1]


async def test_a_connection_is_bounded_and_its_refusal_has_the_nodes_form(node: Node) -> None:
    async with node.client.get(f"{node.url}/v2", headers={"x-long": "x" * 20_000}) as response:
        assert response.status == 431
        assert (await response.json())["code"] == "headers_too_large"
    assert await node.status("/v2") == 200


async def test_answers_read_to_their_last_event_share_one_connection(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0
    connect = aiohttp.TCPConnector._create_connection

    async def counted(*given, **named):
        nonlocal made
        made += 1
        return await connect(*given, **named)

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", counted)
    backend = HttpNode("cpu-0", node.url, "tiny")
    try:
        for number in range(20):
            asked = GenerateRequest(id=str(number), prompt=PROMPTS[0], sampling=SamplingParams(max_new_tokens=4))
            async with aclosing(backend.generate(asked, timeout_s=5)) as events:
                assert [e async for e in events][-1].type == "finished"
    finally:
        await backend.aclose()
    assert made < 5  # one, unless an answer's end came in a packet of its own
