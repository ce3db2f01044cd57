"""What is not computed twice: attempts with one Idempotency-Key, and the response cache."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import Gateway, Stage, answer, gateway

from weir.contracts.errors import BackendTimeoutError
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage

SLOW = (0.3, TokenChunk("slow"), Finished(FinishReason.EOS, Usage(3, 1)))
GREEDY: dict[str, Any] = {"inputs": "?", "parameters": {"max_new_tokens": 8}}
CHAT = {"messages": [{"role": "user", "content": "?"}], "max_tokens": 8}


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def weir(stage: Stage, release: Path) -> Iterator[Gateway]:
    with gateway(release, stage.backend) as running:
        yield running


@pytest.fixture
def caching(stage: Stage, release: Path) -> Iterator[Gateway]:
    with gateway(release, stage.backend, cache_mb=1) as running:
        yield running


def attempt(weir: Gateway, path: str, body: Any, key: str) -> Any:
    return weir.post(path, body, Idempotency_Key=key)


@pytest.mark.parametrize(("path", "body"), [("/generate", GREEDY), ("/v1/chat/completions", CHAT)])
def test_a_second_attempt_gets_the_first_ones_answer(weir: Gateway, stage: Stage, path: str, body: Any) -> None:
    stage.script = answer("七天", "内。")

    first, second = (attempt(weir, path, body, "k1") for _ in range(2))

    assert (first.status, second.status, second.body) == (200, 200, first.body)
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(stage.backend.calls) == 1
    assert weir.metric("idempotent_attempts_total", outcome="replayed") == 1


def test_a_storm_of_retries_is_one_piece_of_work(weir: Gateway, stage: Stage) -> None:
    stage.script = SLOW
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: attempt(weir, "/generate", GREEDY, "storm"), range(8)))

    assert [reply.json for reply in replies] == [{"generated_text": "slow"}] * 8
    assert len(stage.backend.calls) == 1
    assert weir.metric("idempotent_attempts_total", outcome="waited") == 7


def test_work_goes_on_for_the_second_attempt_when_the_first_one_hangs_up(weir: Gateway, stage: Stage) -> None:
    stage.script = SLOW
    with closing(http.client.HTTPConnection("127.0.0.1", weir.port, timeout=5)) as first:
        first.request("POST", "/generate", json.dumps(GREEDY), {"idempotency-key": "handed-on"})
        weir.eventually(lambda: len(stage.backend.calls) == 1)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(attempt, weir, "/generate", GREEDY, "handed-on")
            weir.eventually(lambda: weir.metric("idempotent_attempts_total", outcome="waited") == 1)
            first.close()
            assert second.result().json == {"generated_text": "slow"}

    assert len(stage.backend.calls) == 1
    assert stage.backend.cancelled_count == 0


def test_when_all_attempts_hang_up_the_work_ends(weir: Gateway, stage: Stage) -> None:
    stage.script = (TokenChunk("a "), 5.0, Finished(FinishReason.EOS, Usage(1, 1)))
    with closing(http.client.HTTPConnection("127.0.0.1", weir.port, timeout=5)) as first:
        first.request("POST", "/generate", json.dumps(GREEDY), {"idempotency-key": "left"})
        weir.eventually(lambda: len(stage.backend.calls) == 1)
    weir.eventually(lambda: stage.backend.cancelled_count == 1, within_s=4)

    stage.script = answer("again")
    assert attempt(weir, "/generate", GREEDY, "left").json == {"generated_text": "again"}


def test_another_body_with_the_same_key_is_422(weir: Gateway) -> None:
    attempt(weir, "/generate", GREEDY, "k")
    other = attempt(weir, "/generate", GREEDY | {"inputs": "!"}, "k")
    elsewhere = attempt(weir, "/v1/chat/completions", CHAT, "k")

    assert (other.status, other.json["error_type"]) == (422, "validation")
    assert elsewhere.status == 422
    assert elsewhere.json["error"]["code"] == "idempotency_key_reused"
    assert weir.metric("idempotent_attempts_total", outcome="refused") == 2


def test_a_failed_attempt_may_be_tried_again(weir: Gateway, stage: Stage) -> None:
    stage.script = (BackendTimeoutError("late"),)
    assert attempt(weir, "/generate", GREEDY, "k").status == 424
    stage.script = answer("now")
    weir.forgive()
    assert attempt(weir, "/generate", GREEDY, "k").json == {"generated_text": "now"}


def test_a_stream_is_not_joined_and_is_replayed_once_whole(weir: Gateway, stage: Stage) -> None:
    stage.script = (TokenChunk("a "), *SLOW)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(attempt, weir, "/generate_stream", GREEDY, "s")
        weir.eventually(lambda: len(stage.backend.calls) == 1)
        joined = attempt(weir, "/generate_stream", GREEDY, "s")
        streamed = first.result()
    again = attempt(weir, "/generate_stream", GREEDY, "s")

    assert (joined.status, joined.json["error_type"]) == (409, "conflict")
    assert joined.headers["retry-after"] == "1"
    assert (again.status, again.body) == (200, streamed.body)
    assert again.headers["content-type"] == streamed.headers["content-type"]
    assert again.headers["idempotent-replayed"] == "true"
    assert len(stage.backend.calls) == 1


def test_a_stream_that_broke_is_not_replayed(weir: Gateway, stage: Stage) -> None:
    stage.script = (TokenChunk("a "), BackendTimeoutError("late"))
    assert attempt(weir, "/generate_stream", GREEDY, "s").events[-1]["error_type"] == "generation"
    stage.script = answer("whole")
    weir.forgive()
    again = attempt(weir, "/generate_stream", GREEDY, "s")

    assert again.events[-1]["generated_text"] == "whole"
    assert "idempotent-replayed" not in again.headers


def test_without_the_setting_nothing_is_cached(weir: Gateway, stage: Stage) -> None:
    for _ in range(2):
        assert "x-weir-cache" not in weir.post("/generate", GREEDY).headers
    assert len(stage.backend.calls) == 2


def test_a_deterministic_request_is_answered_from_the_cache(caching: Gateway, stage: Stage) -> None:
    stage.script = answer("七天", "内。")
    first, second = (caching.post("/generate", GREEDY) for _ in range(2))

    assert second.json == first.json
    assert "x-weir-cache" not in first.headers
    assert second.headers["x-weir-cache"] == "hit"
    assert len(stage.backend.calls) == 1
    assert caching.metric("cache_requests_total", result="hit") == 1
    assert caching.metric("cache_requests_total", result="miss") == 1
    assert caching.metric("cache_bytes") > 0
    assert caching.metric("generated_tokens_total", model="faq") == 2  # by nodes
    assert caching.metric("wasted_tokens_total", reason="guard") == 0


def test_a_stream_is_replayed_with_its_tokens(caching: Gateway, stage: Stage) -> None:
    stage.script = answer("七天", "内", "。")
    first, second = (caching.post("/generate_stream", GREEDY) for _ in range(2))

    assert second.headers["x-weir-cache"] == "hit"
    assert [event["token"] for event in second.events] == [event["token"] for event in first.events]
    assert second.events[-1]["generated_text"] == "七天内。"


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_new_tokens": 9},
        {"max_new_tokens": 8, "stop": ["x"]},
        {"max_new_tokens": 8, "repetition_penalty": 1.1},
        {"max_new_tokens": 8, "do_sample": True, "seed": 5},
        {"max_new_tokens": 8, "details": True},
    ],
)
def test_whatever_changes_the_answer_is_part_of_the_key(
    caching: Gateway, stage: Stage, parameters: dict[str, Any]
) -> None:
    caching.post("/generate", GREEDY)
    caching.post("/generate", {"inputs": "?", "parameters": parameters})
    assert len(stage.backend.calls) == 2


def test_sampling_is_cached_with_a_seed_only(caching: Gateway, stage: Stage) -> None:
    for seed, calls in ((None, 2), (7, 1)):
        before = len(stage.backend.calls)
        for _ in range(2):
            caching.post("/generate", {"inputs": "?", "parameters": {"do_sample": True, "seed": seed}})
        assert len(stage.backend.calls) == before + calls


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", {"inputs": "?", "parameters": {"do_sample": True}}),
        ("/generate", {"inputs": "?", "parameters": {"temperature": 0.5, "best_of": 2}}),
        ("/generate_stream", {"inputs": "?", "parameters": {"temperature": 0.5}}),
        ("/v1/chat/completions", CHAT | {"temperature": 0.5, "n": 2}),
    ],
)
def test_a_seed_that_nobody_gave_makes_nothing_repeatable(caching: Gateway, path: str, body: Any) -> None:
    """TGI says which seed it drew: that one must not name the answer, nor take room in the cache."""
    assert caching.post(path, body).status == 200

    assert caching.metric("cache_bytes") == 0
    assert [caching.metric("cache_requests_total", result=result) for result in ("hit", "miss")] == [0, 0]


def test_what_the_guard_cut_stays_cut_and_failures_are_not_kept(caching: Gateway, stage: Stage) -> None:
    stage.script = answer("七天", "炸弹", "。")
    first, second = (caching.post("/generate_stream", GREEDY) for _ in range(2))
    assert second.events[-1]["weir_finish_reason"] == first.events[-1]["weir_finish_reason"] == "content_filter"
    assert "炸" not in second.body.decode()

    stage.script = (BackendTimeoutError("late"),)
    other = GREEDY | {"inputs": "other"}
    assert caching.post("/generate", other).status == 424
    caching.forgive()
    stage.script = answer("fine")
    assert caching.post("/generate", other).json == {"generated_text": "fine"}
