"""The CPU node over real HTTP: wire form, refusals, cancellation, health."""

import asyncio
import json
import threading
from pathlib import Path

import pytest
from tests.support.served_node import Node, body, serve, slow_down, until
from tests.support.tiny_release import PROMPTS, golden_ids

LONG = {"max_tokens": 480, "ignore_eos": True}


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


@pytest.mark.timed
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
