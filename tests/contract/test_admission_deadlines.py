"""Deadlines at three times what a node can do: what expired never reaches it."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import pytest
from tests.support.gateway import build_app
from tests.support.prompt_release import make_prompt_release

from weir.backends.scripted import ScriptedBackend, Step
from weir.contracts.errors import WeirError
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.gateway.app import GatewayApp
from weir.gateway.generation import Ask, RequestContext
from weir.gateway.streams import collected

pytestmark = pytest.mark.timed

REQUESTS, SLOTS, ANSWER_S, LOAD = 1_000, 10, 0.02, 3.0


class TimedNode:
    """Notes when each request arrives."""

    def __init__(self) -> None:
        self.left: dict[str, float] = {}
        self.backend = ScriptedBackend(self._play)

    def _play(self, request: GenerateRequest) -> Sequence[Step]:
        self.left[request.id] = request.deadline_s or 0.0
        return [ANSWER_S / 2, TokenChunk("a "), ANSWER_S / 2, Finished(FinishReason.EOS, Usage(3, 1))]


async def outcome(app: GatewayApp, context: RequestContext) -> str:
    request = GenerateRequest(id=context.id, prompt="?", sampling=SamplingParams(max_new_tokens=1))
    try:
        generation = await app.service.start(Ask(request, "/generate", context))
        await collected(generation.events)
    except WeirError as error:
        return str(error.status.value)
    await generation.events.aclose()
    return "200"


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_expired_request_reaches_a_node(tmp_path: Path, seed: int) -> None:
    node, dice = TimedNode(), random.Random(seed)
    app = build_app(make_prompt_release(tmp_path), [node.backend], max_in_flight=SLOTS)
    await app.service.router.start()
    deadlines: dict[str, float] = {}
    asked = []
    for number in range(REQUESTS):
        name = str(number)
        deadlines[name] = monotonic() + dice.uniform(-0.01, 0.3)
        asked.append(asyncio.create_task(outcome(app, RequestContext(name, deadline=deadlines[name]))))
        await asyncio.sleep(dice.expovariate(LOAD * SLOTS / ANSWER_S))
    outcomes = Counter(await asyncio.gather(*asked))
    await app.service.router.aclose()

    late = {name: left for name, left in node.left.items() if left <= 0}
    assert not late
    assert set(outcomes) == {"200", "503", "504"}, outcomes
    assert outcomes["200"] > REQUESTS / LOAD / 3
    assert outcomes["504"] >= sum(1 for name in deadlines if name not in node.left) - outcomes["503"]
    metrics = app.service.metrics.registry
    assert metrics.get_sample_value("weir_gateway_admission_refused_total", {"reason": "deadline"})
    assert app.service.admission.in_flight == 0
