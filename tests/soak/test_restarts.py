"""Gateways are restarted one after the other while answers stream: nobody notices."""

import asyncio
import json

import pytest

from tests.soak.load import Callers, Outcome
from tests.support import processes
from tests.support.processes import Server

pytestmark = [pytest.mark.soak, pytest.mark.e2e, pytest.mark.timeout(3600)]
GATEWAYS = 2
TOKENS, PACE_S = 60, 0.02


async def test_rolling_restarts_under_streaming_load_drop_nothing(release, servers, tmp_path, request) -> None:
    """`drain_delay_s` gives callers the time to hear that a gateway leaves, as a balancer needs it."""
    restarts = request.config.getoption("--soak-restarts")
    node = processes.scripted_node(tmp_path / "node.log")
    settings = {"drain_delay_s": "1", "drain_timeout_s": "20"}
    gateways = [processes.gateway(release, [node], tmp_path / f"g{n}.log", settings=settings) for n in range(GATEWAYS)]
    for server in [node, *gateways]:
        servers.append(server)
        await asyncio.to_thread(server.start)
    prompt = "play:" + json.dumps({"texts": ["tick "], "times": TOKENS, "pace_s": PACE_S})
    callers = Callers([gateway.url for gateway in gateways], lambda: prompt, per_second=8)

    stop = asyncio.Event()
    load = asyncio.create_task(callers.run_while(lambda: not stop.is_set()))
    codes = [await _restarted(gateways[turn % GATEWAYS]) for turn in range(restarts)]
    stop.set()
    tally = await load

    print(f"\n{restarts} rolling restarts under streaming load\n{tally.text()}")
    assert codes == [0] * restarts
    assert tally[Outcome.COMPLETE] > restarts * 5
    assert {outcome: tally[outcome] for outcome in Outcome if outcome is not Outcome.COMPLETE} == {
        Outcome.CUT: 0,
        Outcome.FAILED: 0,
        Outcome.REFUSED: 0,
        Outcome.LOST: 0,
    }


async def _restarted(gateway: Server) -> int:
    await asyncio.sleep(1)
    code = await asyncio.to_thread(gateway.terminate, timeout_s=60)
    await asyncio.to_thread(gateway.start)
    await asyncio.sleep(0.5)  # until the callers have seen that it is back
    return code
