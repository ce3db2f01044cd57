"""The CPU node over real HTTP: wire form, refusals, cancellation, loading, draining."""

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import uvicorn
from prometheus_client import CollectorRegistry
from tests.support.tiny_release import PROMPTS, golden_ids, make_tiny_release, write_manifest

from weir.asgi.listen import listen
from weir.backends.http_node import HttpNode
from weir.contracts.errors import UsageError
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.cpu_node.app import NodeApp
from weir.cpu_node.models import ModelHost
from weir.cpu_node.server import find_release
from weir.cpu_node.settings import NodeSettings, load_node_settings
from weir.engine.engine import Engine
from weir.telemetry.node_metrics import NodeMetrics

LONG = {"max_tokens": 480, "ignore_eos": True}


@dataclass
class Node:
    """A node in this process on a real port, and a client of it."""

    url: str
    host: ModelHost
    registry: CollectorRegistry
    home: Path
    client: aiohttp.ClientSession

    def post(self, path: str, body: object):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(self.url + path, data=io.BytesIO(data))

    async def events(self, body: dict, path: str = "/v2/models/tiny/generate_stream") -> list[dict]:
        async with self.post(path, body) as response:
            assert response.status == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            raw = (await response.read()).decode()
        return [json.loads(event.removeprefix("data: ")) for event in raw.split("\n\n") if event]

    async def status(self, path: str) -> int:
        async with self.client.get(self.url + path) as response:
            return response.status

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def ended(self, outcome: str) -> float | None:
        return self.metric("weir_node_requests_total", outcome=outcome)

    @property
    def engine(self) -> Engine:
        return self.host.engines[0]


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with versions 1 and 2 of a model; read-only."""
    home = tmp_path_factory.mktemp("home")
    make_tiny_release(home / "releases", version=1)
    make_tiny_release(home / "releases", version=2, precisions=("int8",))
    return home


@pytest_asyncio.fixture
async def node(releases: Path) -> AsyncIterator[Node]:
    async with serve(releases) as started:
        yield started


@asynccontextmanager
async def serve(home: Path, **settings) -> AsyncIterator[Node]:
    registry = CollectorRegistry()
    metrics = NodeMetrics(registry)
    chosen = NodeSettings(home=home, threads=2, **settings)
    host = ModelHost(chosen, metrics)
    app = NodeApp(host, metrics, max_body_bytes=chosen.max_body_bytes)
    config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    listener = listen("127.0.0.1", 0)
    await server.startup([listener])  # without the main loop, whose ticks and pauses would cost 0.2 s a test
    try:
        await host.load(home / "releases" / "tiny" / "1")
        async with aiohttp.ClientSession() as client:
            yield Node(f"http://127.0.0.1:{listener.getsockname()[1]}", host, registry, home, client)
    finally:
        for listening in server.servers:
            listening.close()
        listener.close()
        await host.aclose()


async def until(condition: Callable[[], bool], seconds: float = 3.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not come true in time"
        await asyncio.sleep(0.001)
    return time.monotonic() - began


def body(prompt: str = PROMPTS[0], sampling: object = None, **fields) -> dict:
    return {"text_input": prompt, "sampling_parameters": sampling or {"max_tokens": 12, "ignore_eos": True}} | fields


# the wire form


async def test_a_stream_is_deltas_then_the_reason_and_the_counts(node: Node) -> None:
    *deltas, last = await node.events(body(return_tokens=True, id="r-1"))
    ids = [t["id"] for event in deltas for t in event["tokens"]]
    assert tuple(ids) == golden_ids("fp32")[0][:12]
    assert {(e["model_name"], e["model_version"], e["id"]) for e in (*deltas, last)} == {("tiny", "1", "r-1")}
    assert last["text_output"] == ""
    assert last["finish_reason"] == "length"
    assert last["num_input_tokens"] == node.engine.stats.prompt_tokens_total
    assert sum(e["num_output_tokens"] for e in (*deltas, last)) == 12
    assert deltas[0]["num_output_tokens"] == 1
    assert set(deltas[0]["tokens"][0]) == {"id", "text", "logprob", "special", "top"}
    assert node.ended("length") == 1
    assert node.metric("weir_node_generated_tokens_total") == 12
    assert node.metric("weir_node_batch_size_count") == 11
    assert node.metric("weir_node_step_seconds_count", stage="prefill") == 1


@pytest.mark.parametrize("path", ["generate", "versions/1/generate", "generate_stream"])
async def test_one_json_answer_holds_what_the_stream_would(node: Node, path: str) -> None:
    streamed = await node.events(body())
    async with node.post(f"/v2/models/tiny/{path}", body(stream=False)) as response:
        answer = await response.json()
    assert answer["text_output"] == "".join(e["text_output"] for e in streamed)
    assert answer["finish_reason"] == "length"
    assert answer["num_output_tokens"] == 12


@pytest.mark.parametrize(
    "same",
    [
        {"sampling_parameters": json.dumps({"max_tokens": 12, "ignore_eos": True})},
        {"parameters": {"max_tokens": 12, "ignore_eos": True, "unknown": 1}},
        {"parameters": {"sampling_parameters": {"max_tokens": 12, "ignore_eos": True, "top_k": -1}, "stream": False}},
        {"sampling_parameters": {"max_tokens": 12, "ignore_eos": True, "stop": "never", "n": 1}, "whatever": []},
    ],
)
async def test_parameters_may_stand_where_vllm_and_triton_put_them(node: Node, same: dict) -> None:
    async with node.post("/v2/models/tiny/generate", body()) as response:
        expected = (await response.json())["text_output"]
    async with node.post("/v2/models/tiny/generate", {"text_input": PROMPTS[0]} | same) as response:
        assert (await response.json())["text_output"] == expected


async def test_the_input_comes_first_when_it_is_not_excluded_and_counts_can_be_left_out(node: Node) -> None:
    events = await node.events(body(exclude_input_in_output=False, return_num_output_tokens=False))
    assert events[0]["text_output"].startswith(PROMPTS[0])
    assert not any(e["text_output"].startswith(PROMPTS[0]) for e in events[1:])
    assert "num_output_tokens" not in events[-1]


# refusals


@pytest.mark.parametrize(
    ("path", "sent", "status", "code", "field"),
    [
        ("tiny", b"{", 422, "validation", "body"),
        ("tiny", b"[]", 422, "validation", "body"),
        ("tiny", {}, 422, "validation", "text_input"),
        ("tiny", {"text_input": 3}, 422, "validation", "text_input"),
        ("tiny", body(stream="yes"), 422, "validation", "stream"),
        ("tiny", body(sampling={"max_tokens": 0}), 422, "validation", "sampling_parameters.max_tokens"),
        ("tiny", body(sampling={"temperature": "hot"}), 422, "validation", "sampling_parameters.temperature"),
        ("tiny", body(sampling="{"), 422, "validation", "sampling_parameters"),
        ("tiny", body(parameters=[]), 422, "validation", "parameters"),
        ("tiny", body(sampling={"max_tokens": 512}), 422, "validation", "max_new_tokens"),
        ("tiny", body("x" * 1_100_000), 413, "body_too_large", None),
        ("other", body(), 404, "unknown_model", None),
        ("tiny/versions/2", body(), 404, "unknown_model", None),
        ("tiny/versions/x", body(), 404, "unknown_model", None),
    ],
)
async def test_a_bad_request_gets_its_own_status_and_field(node: Node, path, sent, status, code, field) -> None:
    async with node.post(f"/v2/models/{path}/generate_stream", sent) as response:
        answer = await response.json()
    assert (response.status, answer["code"], answer.get("field")) == (status, code, field)
    assert "hot" not in answer["error"]
    assert node.ended("rejected") == 1


async def test_a_full_node_says_when_to_come_again(releases: Path) -> None:
    async with serve(releases, max_running=1, max_waiting=0) as node:
        running = asyncio.create_task(node.events(body(sampling=LONG)))
        await until(lambda: node.engine.stats.running == 1)
        async with node.post("/v2/models/tiny/generate", body()) as response:
            assert response.status == 429
            assert int(response.headers["retry-after"]) >= 1
            assert (await response.json())["code"] == "overloaded"
        await running
        assert node.ended("overloaded") == 1


async def test_an_error_after_the_first_event_comes_in_the_stream(node: Node) -> None:
    async with node.post("/v2/models/tiny/generate_stream", body(sampling=LONG)) as response:
        await response.content.readany()
        await node.engine.stop()
        raw = (await response.read()).decode()
    assert json.loads(raw.strip().split("\n\n")[-1].removeprefix("data: "))["code"] == "backend_unavailable"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/v2/repository/index", 405)])
async def test_unknown_paths_and_methods(node: Node, method: str, path: str, status: int) -> None:
    async with node.client.request(method, node.url + path) as response:
        assert response.status == status


# leaving


@pytest.mark.parametrize("path", ["generate_stream", "generate"])
async def test_a_client_that_leaves_frees_its_slot_within_200_ms(node: Node, path: str) -> None:
    slow_down(node.engine)

    async def read() -> None:
        async with node.post(f"/v2/models/tiny/{path}", body(sampling=LONG)) as response:
            await response.read()

    client = asyncio.create_task(read())
    await until(lambda: node.engine.stats.generated_tokens_total > 2)
    client.cancel()
    seconds = await until(lambda: node.engine.stats.running == 0)
    assert seconds < 0.2
    assert node.engine.stats.generated_tokens_total < 480
    assert node.ended("cancelled") == 1
    assert node.metric("weir_node_kv_cache_usage_ratio") == 0


def slow_down(engine: Engine, step_s: float = 0.01) -> None:
    run = engine._model.run

    def slow(*args, **kwargs):
        time.sleep(step_s)
        return run(*args, **kwargs)

    engine._model.run = slow


async def test_a_deadline_ends_a_request_with_504_and_is_counted(node: Node) -> None:
    slow_down(node.engine)
    async with node.post("/v2/models/tiny/generate", body(sampling={"max_tokens": 400}, deadline_s=0.05)) as response:
        assert response.status == 504
        assert (await response.json())["code"] == "deadline_exceeded"
    assert node.ended("expired") == 1


@pytest.mark.parametrize(("name", "value"), [("priority", 11), ("deadline_s", 0), ("cache_salt", "x" * 129)])
async def test_a_bad_scheduling_field_is_named(node: Node, name: str, value: object) -> None:
    async with node.post("/v2/models/tiny/generate", body(**{name: value})) as response:
        assert response.status == 422
        assert (await response.json())["field"] == name


# health, metadata, metrics


async def test_health_metadata_and_metrics(node: Node) -> None:
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready", "/v2/models/tiny/versions/1"):
        assert await node.status(path) == 200, path
    assert await node.status("/v2/models/other/ready") == 404
    async with node.client.get(node.url + "/v2/models/tiny") as response:
        about = await response.json()
    assert about["versions"] == ["1"]
    assert about["parameters"]["flavour"] == "cpu-fp32"
    assert about["parameters"]["context_tokens"] == 512
    async with node.client.get(node.url + "/metrics") as response:
        text = await response.text()
    assert 'weir_node_model_info{flavour="cpu-fp32",model="tiny",version="1"} 1.0' in text
    assert "weir_node_queue_depth 0.0" in text
    assert node.metric("weir_node_threads") == 2
    assert node.metric("weir_node_golden_checks_total", result="passed") == 1
    assert (node.metric("weir_node_session_load_seconds") or 0) > 0


async def test_a_node_that_makes_no_progress_is_not_live(releases: Path) -> None:
    async with serve(releases, stall_s=0.1) as node:
        go_on = threading.Event()
        run = node.engine._model.run
        node.engine._model.run = lambda *args, **kwargs: (go_on.wait(20), run(*args, **kwargs))[1]
        client = asyncio.create_task(node.events(body()))
        await until(lambda: not node.host.live)
        assert await node.status("/v2/health/live") == 503
        go_on.set()
        await client
        assert await node.status("/v2/health/live") == 200


async def test_a_failed_engine_is_neither_live_nor_ready(node: Node) -> None:
    node.engine._model.run = None
    async with node.post("/v2/models/tiny/generate", body()) as response:
        assert response.status == 502
        assert (await response.json())["code"] == "backend_error"
    assert await node.status("/v2/health/live") == 503
    assert await node.status("/v2/health/ready") == 503


async def test_a_draining_node_is_not_ready_and_lets_nobody_in(node: Node) -> None:
    node.host.drain()
    assert await node.status("/v2/health/ready") == 503
    assert await node.status("/v2/health/live") == 200
    async with node.post("/v2/models/tiny/generate", body()) as response:
        assert response.status == 503
    assert node.ended("unavailable") == 1
    assert node.metric("weir_node_draining") == 1


# loading


async def load(node: Node, parameters: dict, model: str = "tiny") -> tuple[int, dict]:
    async with node.post(f"/v2/repository/models/{model}/load", {"parameters": parameters}) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("how", ["version", "path", "newest"])
async def test_a_new_version_loads_while_the_old_one_finishes_its_streams(node: Node, how: str) -> None:
    old = node.engine
    slow_down(old, 0.002)
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
        process.send_signal(signal.SIGTERM)
        raw = (await response.read()).decode()
    assert '"finish_reason":"length"' in raw
    rest = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 0
    events = [json.loads(line) for line in rest[1].splitlines()]
    assert [e["event"] for e in events] == ["draining", "stopped"]
    assert "order" not in rest[1]


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
