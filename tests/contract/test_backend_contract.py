"""What `Backend` promises, kept by every implementation: scripted, HTTP node, engine in process, real CPU node, and a
real Triton server over gRPC, with Weir's model and with one that plays a script."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.support.gateway import running
from tests.support.subject import DONE, LONG, Subject, counting, events_of, joined, over_http, played, request, texts
from tests.support.tiny_release import make_tiny_release
from tests.support.triton_server import Triton

from weir.backends.base import Backend, NodeReport
from weir.backends.grpc_node import GrpcNode
from weir.backends.http_node import HttpNode
from weir.backends.local import LocalBackend
from weir.backends.scripted import ScriptedBackend
from weir.contracts.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    DeadlineExceededError,
    OverloadedError,
    ValidationError,
    WeirError,
)
from weir.contracts.events import Finished, FinishReason, GenerationEvent, TokenChunk
from weir.contracts.grammar import OneOf
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.cpu_node.app import NodeApp
from weir.cpu_node.models import ModelHost
from weir.cpu_node.settings import NodeSettings
from weir.engine.engine import Engine
from weir.engine.kernels.library import operators
from weir.engine.loading import load_engine
from weir.engine.settings import EngineSettings
from weir.telemetry.node_metrics import NodeMetrics


@pytest.fixture(scope="session")
def tiny_release(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_tiny_release(tmp_path_factory.mktemp("releases"), precisions=("packed8", "fp32"))


def tiny_engine(root: Any) -> Engine:
    return load_engine(root, None, EngineSettings(threads=1, max_running=2, max_waiting=1, check_golden=False))


@pytest.fixture
async def scripted() -> Subject:
    stage: list[Any] = [counting]
    backend = ScriptedBackend(lambda asked: stage[0](asked) if callable(stage[0]) else stage[0])
    done = backend.cancelled_count
    return Subject(backend, lambda steps: stage.__setitem__(0, steps), lambda: backend.cancelled_count == done)


@pytest.fixture
async def http() -> AsyncIterator[Subject]:
    async with over_http() as subject:
        yield subject


async def over_triton(server: Triton, model: str) -> AsyncIterator[Subject]:
    backend = GrpcNode("triton", f"127.0.0.1:{server.grpc_port}", model)
    before = server.given_up(model)
    yield Subject(backend, None, lambda: server.given_up(model) == before)
    await backend.aclose()


@pytest.fixture
async def triton_node(triton: Triton) -> AsyncIterator[Subject]:
    async for subject in over_triton(triton, "tiny"):
        yield subject


@pytest.fixture
async def triton_actor(triton: Triton) -> AsyncIterator[Subject]:
    script = triton.repository.parent / "script.json"
    async for subject in over_triton(triton, "played"):
        subject.play = lambda steps: script.write_text(json.dumps([played(step) for step in steps])) and None
        yield subject
    script.unlink(missing_ok=True)


@pytest.fixture
async def local(tiny_release: Any) -> AsyncIterator[Subject]:
    engine = tiny_engine(tiny_release)
    engine.start()
    backend = LocalBackend("local", engine)
    yield Subject(backend, None, lambda: engine.stats.running + engine.stats.queued > 0)
    await backend.aclose()


@pytest.fixture
async def node(tiny_release: Any) -> AsyncIterator[Subject]:
    metrics = NodeMetrics(CollectorRegistry())
    host = ModelHost(NodeSettings(threads=1), metrics, tiny_engine)
    await host.load(tiny_release)
    with running(NodeApp(host, metrics, max_body_bytes=1 << 20)) as port:
        backend = HttpNode("node", f"http://127.0.0.1:{port}", "tiny")
        yield Subject(backend, None, lambda: host.load_now().running + host.load_now().queued > 0)
        await backend.aclose()
    await host.aclose(drain_s=0)


@pytest.fixture(params=["scripted", "http", "triton_actor", "local", "node", "triton_node"])
def subject(request: pytest.FixtureRequest) -> Subject:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["scripted", "http", "triton_actor"])
def actor(request: pytest.FixtureRequest) -> Subject:
    """A subject that can be told what to say."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["local", "node", "triton_node"])
def real(request: pytest.FixtureRequest) -> Subject:
    """A subject with an engine behind it."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["node", "triton_node"])
def far(request: pytest.FixtureRequest) -> Subject:
    """A subject whose engine is beyond a wire."""
    return request.getfixturevalue(request.param)


async def test_a_stream_is_chunks_then_exactly_one_finished(subject: Subject) -> None:
    *chunks, last = await events_of(subject.backend, request())

    assert chunks
    assert all(isinstance(chunk, TokenChunk) for chunk in chunks)
    assert isinstance(last, Finished)
    assert last.reason is FinishReason.LENGTH
    assert last.usage.completion_tokens == 6
    assert last.usage.prompt_tokens > 0
    assert sum(chunk.token_count for chunk in chunks if isinstance(chunk, TokenChunk)) == 6


async def test_tokens_come_when_asked_for_and_spell_the_text(subject: Subject) -> None:
    *chunks, _ = await events_of(subject.backend, request(return_tokens=True))

    tokens = [token for chunk in chunks if isinstance(chunk, TokenChunk) for token in chunk.tokens]
    text = "".join(chunk.text for chunk in chunks if isinstance(chunk, TokenChunk))
    assert len(tokens) == 6
    assert "".join(token.text for token in tokens if not token.special) == text
    assert all(token.logprob <= 0 for token in tokens)


async def test_no_tokens_come_unasked(subject: Subject) -> None:
    *chunks, _ = await events_of(subject.backend, request())

    assert all(isinstance(chunk, TokenChunk) and chunk.tokens == () for chunk in chunks)


@pytest.fixture(params=["local", "node"])
def telling(request: pytest.FixtureRequest) -> Subject:
    """A subject that says of itself what Triton has no words for."""
    return request.getfixturevalue(request.param)


async def test_an_engine_tells_what_it_serves_and_what_it_has_to_do(telling: Subject) -> None:
    backend, flavour = telling.backend, "cpu-fp32" if operators() is None else "cpu-packed8"
    assert await backend.ready()
    assert backend.report == NodeReport(version=1, flavour=flavour, slots=2, present=0)

    async with aclosing(backend.generate(request(tokens=LONG), timeout_s=5)) as events:
        await anext(events)
        assert await backend.ready()
        assert backend.report.present == 1


async def test_log_probabilities_and_grammars_pass_through_a_node_unchanged(local: Subject, far: Subject) -> None:
    sampling = SamplingParams(
        max_new_tokens=9,
        temperature=0.9,
        seed=3,
        logprobs=2,
        prompt_logprobs=1,
        presence_penalty=0.5,
        logit_bias={7: 1.5},
        grammar=OneOf(choices=("七天内可以退货。", "no")),
    )
    asked = GenerateRequest(id="r", model="tiny", prompt="怎么退货？" * 30, sampling=sampling)

    here, beyond = [await events_of(subject.backend, asked) for subject in (local, far)]

    whole = joined(beyond)
    assert whole == joined(here)
    assert beyond[-1] == here[-1]
    assert "七天内可以退货。".startswith(whole.text) or whole.text == "no"
    assert {len(token.top) for token in whole.tokens} == {2}
    assert len(whole.prompt) == beyond[-1].usage.prompt_tokens > 64  # more than one event of the wire
    assert whole.prompt[0].logprob is None


@pytest.mark.timed
async def test_closing_the_stream_ends_the_work_within_200_ms(subject: Subject) -> None:
    events = subject.backend.generate(request(tokens=LONG), timeout_s=5)
    await anext(events)
    assert subject.is_working()

    closed = time.monotonic()
    await events.aclose()
    while subject.is_working():
        assert time.monotonic() - closed < 0.2
        await asyncio.sleep(0.002)


@pytest.mark.timed
async def test_cancelling_the_task_ends_the_work_too(subject: Subject) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async with aclosing(subject.backend.generate(request(tokens=LONG), timeout_s=5)) as events:
            async for _ in events:
                begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    cancelled = time.monotonic()
    await asyncio.gather(task, return_exceptions=True)
    while subject.is_working():
        assert time.monotonic() - cancelled < 0.2
        await asyncio.sleep(0.002)


async def test_it_is_ready_and_answers_twice(subject: Subject) -> None:
    assert await subject.backend.ready()

    first = await events_of(subject.backend, request())
    second = await events_of(subject.backend, request())

    assert texts(first) == texts(second)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (OverloadedError(7), OverloadedError),
        (BackendUnavailableError("not yet"), BackendUnavailableError),
        (BackendTimeoutError("late"), BackendTimeoutError),
        (BackendError("odd"), BackendError),
        (ValidationError("text_input: too long"), ValidationError),
    ],
)
@pytest.mark.parametrize("is_late", [False, True])
async def test_failures_keep_their_kind(
    actor: Subject, failure: WeirError, kind: type[WeirError], is_late: bool
) -> None:
    assert actor.play is not None
    actor.play([TokenChunk("一"), failure] if is_late else [failure])

    seen: list[GenerationEvent] = []
    with pytest.raises(kind) as caught:
        await read_into(seen, actor.backend)

    assert type(caught.value) is kind
    assert texts(seen) == ("一" if is_late else "")


async def read_into(seen: list[GenerationEvent], backend: Backend) -> None:
    async with aclosing(backend.generate(request(), timeout_s=5)) as events:
        async for event in events:
            seen.append(event)  # noqa: PERF401 - what came before a failure counts


async def test_silence_is_a_timeout(actor: Subject) -> None:
    assert actor.play is not None
    actor.play([TokenChunk("一"), 5.0, DONE])

    began = time.monotonic()
    with pytest.raises(BackendTimeoutError):
        await events_of(actor.backend, request(), timeout_s=0.1)
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("deadline_s", [1e-6, 0.03])
async def test_a_deadline_of_the_callers_own_ends_it_wherever_it_runs(real: Subject, deadline_s: float) -> None:
    sampling = SamplingParams(max_new_tokens=400, ignore_eos=True)
    asked = GenerateRequest(
        id="r1", model="tiny", prompt="退货", sampling=sampling, deadline_s=deadline_s, priority=3, cache_salt="t"
    )
    with pytest.raises(DeadlineExceededError):
        await events_of(real.backend, asked)
    async with asyncio.timeout(10):
        while real.is_working():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.002)
