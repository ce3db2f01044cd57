"""What a node is told of a caller, deadlines end to end, waste, and the ledger."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import pytest
from tests.support.gateway import Gateway, Stage, answer, build_app, gateway, running

from weir.backends.scripted import ScriptedBackend
from weir.contracts.caller import Caller
from weir.contracts.errors import BackendTimeoutError, DeadlineExceededError, OverloadedError
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.gateway.accounting import Accounts
from weir.gateway.app import GatewayApp
from weir.gateway.generation import Ask, Generation, RequestContext
from weir.gateway.refusals import KeyBusyError
from weir.gateway.streams import Collected, collected, merged
from weir.gateway.surfaces.base import Headers, Reply
from weir.gateway.surfaces.tgi import TgiSurface

LONG = (TokenChunk("a "), *(step for _ in range(40) for step in (0.05, TokenChunk("b "))))
END = Finished(FinishReason.EOS, Usage(3, 41))


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
async def app(release: Path, stage: Stage) -> AsyncIterator[GatewayApp]:
    app = build_app(release, [stage.backend], max_in_flight=2)
    await app.service.router.start()
    yield app
    await app.service.router.aclose()


async def asked(app: GatewayApp, context: RequestContext, prompt: str = "?", *, max_new: int = 50) -> Collected:
    request = GenerateRequest(id=context.id, prompt=prompt, sampling=SamplingParams(max_new_tokens=max_new))
    generation = await app.service.start(Ask(request, "/generate", context))
    try:
        return await collected(generation.events)
    finally:
        await generation.events.aclose()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - what is waited for knows nothing of tests
            await asyncio.sleep(0.005)


def metric(app: GatewayApp, name: str, **labels: str) -> float:
    return app.service.metrics.registry.get_sample_value(f"weir_gateway_{name}", labels) or 0.0


async def test_a_node_is_told_what_is_left_of_the_deadline_who_goes_first_and_whose_prompts_are_shared(
    app: GatewayApp, stage: Stage
) -> None:
    important = Caller("k1", "shop", priority=3)
    await asked(app, RequestContext("1", important, deadline=monotonic() + 5))
    first = stage.asked
    await asked(app, RequestContext("2", Caller("k2", "shop"), priority=-2))
    second = stage.asked
    await asked(app, RequestContext("3", Caller("k3", "bank"), priority=9))
    third = stage.asked
    await asked(app, RequestContext("4"))
    anyone = stage.asked

    assert first.deadline_s is not None
    assert 4 < first.deadline_s <= 5
    assert (first.priority, second.priority, third.priority, anyone.priority) == (3, -2, 0, 0)
    assert first.cache_salt == second.cache_salt != third.cache_salt
    assert first.cache_salt is not None
    assert "shop" not in first.cache_salt
    assert anyone.cache_salt is None
    assert anyone.deadline_s is None


async def test_work_whose_time_is_over_never_reaches_a_node(app: GatewayApp, stage: Stage) -> None:
    with pytest.raises(DeadlineExceededError):
        await asked(app, RequestContext("1", deadline=monotonic() - 0.001))
    assert stage.backend.calls == []
    assert metric(app, "admission_refused_total", reason="deadline") == 1


@pytest.mark.timed
@pytest.mark.parametrize("script", [(5.0, END), (*LONG, END)], ids=["before the first token", "amid the answer"])
async def test_a_deadline_ends_the_nodes_work(app: GatewayApp, stage: Stage, script: tuple[object, ...]) -> None:
    stage.script = script  # type: ignore[assignment]
    began = monotonic()
    with pytest.raises(DeadlineExceededError):
        await asked(app, RequestContext("1", deadline=began + 0.2))

    assert 0.15 < monotonic() - began < 0.4
    assert stage.backend.cancelled_count == 1
    assert app.service.admission.in_flight == 0
    if script[0] != 5.0:
        assert metric(app, "wasted_tokens_total", reason="deadline") >= 2


@pytest.mark.timed
@pytest.mark.parametrize(
    ("path", "header"), [("/generate", {"x_request_timeout_ms": "200"}), ("/generate", {"x_request_timeout": "0.2"})]
)
def test_a_deadline_header_is_a_504(release: Path, stage: Stage, path: str, header: dict[str, str]) -> None:
    stage.script = (*LONG, END)
    with gateway(release, stage.backend) as weir:
        reply = weir.post(path, {"inputs": "?"}, **header)
        streamed = weir.post("/generate_stream", {"inputs": "?"}, **header)
        chat = weir.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "?"}]}, **header)
        wrong = weir.post(path, {"inputs": "?"}, x_request_timeout="soon")

    assert (reply.status, reply.json["error_type"]) == (504, "deadline_exceeded")
    assert streamed.status == 200
    assert "deadline" in streamed.events[-1]["error"]
    assert (chat.status, chat.json["error"]["code"]) == (504, "deadline_exceeded")
    assert (wrong.status, wrong.json["error_type"]) == (422, "validation")


@pytest.mark.timed
async def test_tokens_that_nobody_got_are_counted_by_reason(app: GatewayApp, stage: Stage) -> None:
    stage.script = answer("七天", "炸弹", "。")
    await asked(app, RequestContext("guard"))
    stage.script = (TokenChunk("a "), TokenChunk("b "), BackendTimeoutError("late"))
    with pytest.raises(BackendTimeoutError):
        await asked(app, RequestContext("error"))
    stage.script = (*LONG, END)
    task = asyncio.create_task(asked(app, RequestContext("client")))
    await until(lambda: bool(stage.backend.calls) and stage.asked.id == "client")
    await asyncio.sleep(0.12)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    stage.script = answer("good")
    await asked(app, RequestContext("good"))

    assert metric(app, "wasted_tokens_total", reason="guard") >= 1
    assert metric(app, "wasted_tokens_total", reason="error") == 2
    assert metric(app, "wasted_tokens_total", reason="client") >= 2
    assert sum(metric(app, "wasted_tokens_total", reason=r) for r in ("deadline", "drain")) == 0


async def test_tenants_share_no_cached_answer(release: Path, stage: Stage) -> None:
    app = build_app(release, [stage.backend], cache_mb=1)
    await app.service.router.start()
    try:
        for caller in (Caller("k1", "shop"), Caller("k2", "bank"), Caller("k3", "shop")):
            await asked(app, RequestContext(caller.key_id, caller))
    finally:
        await app.service.router.aclose()

    assert [request.id for request in stage.backend.calls] == ["k1", "k2"]


async def test_a_caller_that_leaves_the_queue_is_gone_at_once(app: GatewayApp, stage: Stage) -> None:
    stage.script = (*LONG, END)
    begun = [asyncio.create_task(asked(app, RequestContext(f"r{i}"))) for i in range(2)]
    await until(lambda: len(stage.backend.calls) == 2)
    waiting = asyncio.create_task(asked(app, RequestContext("w")))
    await until(lambda: metric(app, "queue_depth") == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert metric(app, "queue_depth") == 0
    assert len(stage.backend.calls) == 2
    for task in begun:
        task.cancel()
    await asyncio.gather(*begun, return_exceptions=True)
    assert app.service.admission.in_flight == 0


@pytest.mark.timed
async def test_a_key_that_floods_does_not_delay_another_one(app: GatewayApp, stage: Stage) -> None:
    stage.script = (0.02, TokenChunk("x"), Finished(FinishReason.EOS, Usage(3, 1)))
    flood = [asyncio.create_task(asked(app, RequestContext(f"f{i}", Caller("flood", "a")))) for i in range(60)]
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await asked(app, RequestContext("quiet", Caller("quiet", "b")))
    took = time.monotonic() - began
    done = sum(task.done() for task in flood)
    await asyncio.gather(*flood)

    assert done < 20
    assert took < 0.2


@pytest.mark.timed
async def test_a_key_runs_no_more_than_it_may(app: GatewayApp, stage: Stage) -> None:
    stage.script = (0.05, TokenChunk("x"), Finished(FinishReason.EOS, Usage(3, 1)))
    caller = Caller("one", "a", max_concurrency=1)
    tasks = [asyncio.create_task(asked(app, RequestContext(f"{i}", caller))) for i in range(6)]
    await asyncio.sleep(0.02)
    assert len(stage.backend.calls) == 1

    ends = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(end) for end in ends] == [Collected] * 5 + [KeyBusyError]
    refusal = ends[5]
    assert isinstance(refusal, KeyBusyError)
    assert refusal.status == 429


async def test_full_nodes_keep_a_request_waiting_and_not_failing(release: Path) -> None:
    full = ScriptedBackend((OverloadedError(1),), (OverloadedError(1),), answer("at last"))
    app = build_app(release, [full])
    await app.service.router.start()
    try:
        assert (await asked(app, RequestContext("1"))).text == "at last"
    finally:
        await app.service.router.aclose()
    assert len(full.calls) == 3


class Book:
    """A ledger that remembers."""

    def __init__(self) -> None:
        self.reserved: list[Generation] = []
        self.settled: list[Generation] = []
        self.refuses = False

    async def reserve(self, generation: Generation) -> None:
        if self.refuses:
            raise KeyBusyError(7)
        self.reserved.append(generation)

    def settle(self, generation: Generation) -> None:
        self.settled.append(generation)


async def test_the_ledger_is_asked_before_and_told_after(app: GatewayApp, stage: Stage) -> None:
    book = Book()
    app.service.accounts = Accounts(app.service.metrics, book)
    stage.script = answer("a", "b")
    caller = Caller("k1", "shop")
    await asked(app, RequestContext("fine", caller), max_new=20)
    stage.script = answer("炸弹")
    await asked(app, RequestContext("cut", caller))
    book.refuses = True
    with pytest.raises(KeyBusyError):
        await asked(app, RequestContext("refused", caller))

    fine, cut, refused = book.settled
    assert book.reserved == [fine, cut]
    assert fine.max_new_tokens == 20
    assert (fine.status, fine.generated_tokens, fine.ask.context.caller) == (200, 2, caller)
    assert fine.prompt_tokens > 0
    assert cut.blocked_by == "bomb"
    assert (refused.status, refused.pool, refused.generated_tokens) == (429, "none", 0)
    assert len(stage.backend.calls) == 2


class TwoAnswers(TgiSurface):
    """Asks for two answers with one request, as `n` does."""

    def parse(self, body: bytes, context: RequestContext) -> "TwoJob":
        job = super().parse(body, context)
        return TwoJob(job.asks[0], self.streams)


@dataclass(frozen=True)
class TwoJob:
    ask: Ask
    is_stream: bool

    @property
    def asks(self) -> tuple[Ask, Ask]:
        return self.ask, self.ask

    def whole(self, generations: Sequence[Generation], answers: Sequence[Collected]) -> Reply:
        return Reply(200, [], b"|".join(answer.text.encode() for answer in answers))

    def stream_headers(self, generations: Sequence[Generation]) -> Headers:
        return []

    async def frames(self, generations: Sequence[Generation]) -> AsyncGenerator[bytes, None]:
        async for number, event in merged([generation.events for generation in generations]):
            if isinstance(event, TokenChunk):
                yield f"{number}:{event.text};".encode()


@pytest.mark.parametrize("streams", [False, True])
def test_the_answers_of_one_request_need_not_run_at_once(release: Path, stage: Stage, streams: bool) -> None:
    stage.script = answer(*(f"w{i} " for i in range(30)))
    app = build_app(release, [stage.backend], max_in_flight=1)
    surface = TwoAnswers("/two", streams=streams)
    app._routes._exact["/two"] = replace(app._routes._exact["/generate"], surface=surface)
    with running(app) as port:
        reply = Gateway("", port, app).post("/two", {"inputs": "?"})

    text = reply.body.decode()
    assert text.count("w29 ") == 2
    assert reply.status == 200
    assert len(stage.backend.calls) == 2
