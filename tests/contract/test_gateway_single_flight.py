"""Equal requests at the same time: one of them goes to a node, the others wait for its answer."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from tests.support.gateway import Gateway, Reply, Stage, answer, gateway

from weir.backends.scripted import Script
from weir.contracts.errors import BackendError
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage
from weir.contracts.request import GenerateRequest

SLOW: Script = (TokenChunk("slow "), 0.5, TokenChunk("answer"), Finished(FinishReason.EOS, Usage(3, 2)))
GREEDY: dict[str, Any] = {"inputs": "?", "parameters": {"max_new_tokens": 8}}
CHAT = {"messages": [{"role": "user", "content": "?"}], "max_tokens": 8}


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def weir(stage: Stage, release: Path) -> Iterator[Gateway]:
    stage.script = SLOW
    with gateway(release, stage.backend, cache_mb=1) as running:
        yield running


def counted(weir: Gateway) -> dict[str, float]:
    return {result: weir.metric("cache_requests_total", result=result) for result in ("hit", "joined", "miss")}


def begun(weir: Gateway, stage: Stage, pool: ThreadPoolExecutor, path: str = "/generate") -> "Future[Reply]":
    """Ask, and return once the node has begun."""
    first = pool.submit(weir.post, path, GREEDY)
    weir.eventually(lambda: len(stage.backend.calls) == 1)
    return first


def in_flight(weir: Gateway, route: str = "/generate") -> float:
    return weir.metric("requests_in_flight", route=route)


@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
def test_a_storm_of_equal_requests_is_one_piece_of_work(weir: Gateway, stage: Stage, path: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: weir.post(path, GREEDY), range(8)))

    texts = [
        reply.events[-1]["generated_text"] if "stream" in path else reply.json["generated_text"] for reply in replies
    ]
    assert texts == ["slow answer"] * 8
    assert sum(reply.headers.get("x-weir-cache") == "hit" for reply in replies) == 7
    assert len(stage.backend.calls) == 1
    assert counted(weir) == {"hit": 0, "joined": 7, "miss": 1}
    assert weir.post(path, GREEDY).headers["x-weir-cache"] == "hit"
    assert counted(weir) == {"hit": 1, "joined": 7, "miss": 1}


def test_one_that_streams_and_one_that_does_not_share_where_the_answer_is_the_same(weir: Gateway, stage: Stage) -> None:
    with ThreadPoolExecutor(2) as pool:
        stream = pool.submit(weir.post, "/v1/chat/completions", CHAT | {"stream": True})
        weir.eventually(lambda: len(stage.backend.calls) == 1)
        whole = weir.post("/v1/chat/completions", CHAT)

    streamed = "".join(event["choices"][0]["delta"].get("content", "") for event in stream.result().events)
    assert whole.json["choices"][0]["message"]["content"] == streamed == "slow answer"
    assert len(stage.backend.calls) == 1


def test_choices_of_one_request_that_are_the_same_are_computed_once(weir: Gateway, stage: Stage) -> None:
    reply = weir.post("/v1/chat/completions", CHAT | {"n": 3})

    assert [choice["message"]["content"] for choice in reply.json["choices"]] == ["slow answer"] * 3
    assert len(stage.backend.calls) == 1
    assert counted(weir) == {"hit": 0, "joined": 2, "miss": 1}


def test_when_the_first_one_hangs_up_the_next_one_takes_over(weir: Gateway, stage: Stage) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", weir.port, timeout=5)) as first, ThreadPoolExecutor(2) as pool:
        first.request("POST", "/generate", json.dumps(GREEDY))
        weir.eventually(lambda: len(stage.backend.calls) == 1)
        others = [pool.submit(weir.post, "/generate", GREEDY) for _ in range(2)]
        weir.eventually(lambda: in_flight(weir) == 3)
        first.close()
        replies = [other.result() for other in others]

    assert [reply.json for reply in replies] == [{"generated_text": "slow answer"}] * 2
    assert stage.backend.cancelled_count == 1
    assert len(stage.backend.calls) == 2
    assert counted(weir) == {"hit": 0, "joined": 1, "miss": 2}


def test_when_the_first_one_fails_the_next_one_takes_over(weir: Gateway, stage: Stage) -> None:
    def play(_: GenerateRequest) -> Script:
        return (0.3, BackendError("odd")) if len(stage.backend.calls) == 1 else SLOW

    stage.script = play
    with ThreadPoolExecutor(2) as pool:
        first = begun(weir, stage, pool)
        second = weir.post("/generate", GREEDY)

    assert first.result().status == 424
    assert second.json == {"generated_text": "slow answer"}
    assert "x-weir-cache" not in second.headers


def test_nobody_waits_beyond_his_deadline(weir: Gateway, stage: Stage) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = begun(weir, stage, pool)
        began = monotonic()
        late = weir.post("/generate", GREEDY, x_request_timeout_ms="100")
        waited_s = monotonic() - began

    assert (late.status, late.json["error_type"]) == (504, "deadline_exceeded")
    assert 0.1 <= waited_s < 0.4
    assert first.result().status == 200
    assert len(stage.backend.calls) == 1


def test_who_has_waited_as_long_as_a_node_may_take_asks_himself(stage: Stage, release: Path) -> None:
    stage.script = (0.3, TokenChunk("a"), 0.3, TokenChunk("b"), 0.3, Finished(FinishReason.EOS, Usage(3, 2)))
    with gateway(release, stage.backend, cache_mb=1, node_timeout_s=0.4) as weir, ThreadPoolExecutor(1) as pool:
        begun(weir, stage, pool)
        stage.script = answer("mine")

        assert weir.post("/generate", GREEDY).json == {"generated_text": "mine"}
        assert counted(weir) == {"hit": 0, "joined": 0, "miss": 2}


def test_nobody_waits_for_a_request_of_lower_priority(weir: Gateway, stage: Stage) -> None:
    with ThreadPoolExecutor(1) as pool:
        low = pool.submit(weir.post, "/generate", GREEDY, x_priority="-5")
        weir.eventually(lambda: len(stage.backend.calls) == 1)
        stage.script = answer("at once")
        assert weir.post("/generate", GREEDY).json == {"generated_text": "at once"}

    assert low.result().json == {"generated_text": "slow answer"}
    assert len(stage.backend.calls) == 2


def test_a_request_that_is_not_repeatable_waits_for_nobody(weir: Gateway, stage: Stage) -> None:
    sampled = {"inputs": "?", "parameters": {"do_sample": True}}
    with ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda _: weir.post("/generate", sampled), range(3)))

    assert [reply.status for reply in replies] == [200] * 3
    assert len(stage.backend.calls) == 3
    assert counted(weir) == {"hit": 0, "joined": 0, "miss": 0}


def test_without_the_cache_equal_requests_do_not_wait_for_each_other(stage: Stage, release: Path) -> None:
    stage.script = SLOW
    with gateway(release, stage.backend) as weir, ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: weir.post("/generate", GREEDY), range(3)))

    assert len(stage.backend.calls) == 3
