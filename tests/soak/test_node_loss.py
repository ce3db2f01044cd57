"""A node is killed again and again under steady load: what was taken is answered, or told why not."""

import asyncio
import json
import random

import pytest

from tests.soak import memory
from tests.soak.load import Callers, Outcome
from tests.support import processes
from tests.support.processes import Server

pytestmark = [pytest.mark.soak, pytest.mark.e2e, pytest.mark.timeout(4 * 3600)]
IN_FLIGHT = 32
TOKENS, PACE_S = 48, 0.02  # about one second an answer
LOAD = 0.7
REAL_SHARE = 0.1  # of the requests go to a gateway over a real node; its own share of the load is small
QUESTIONS = ("How do I return an order?", "When will it arrive?", "怎么退货？", "Where is my parcel?")


async def test_a_node_is_killed_again_and_again_and_nothing_that_was_taken_is_lost(
    release, servers, tmp_path, request, kept
) -> None:
    """Two scripted nodes carry the load; at the same time two real ones are killed behind a second gateway."""
    seconds = request.config.getoption("--soak-minutes") * 60
    every_s = request.config.getoption("--soak-kill-every-s")
    played = [processes.scripted_node(tmp_path / f"played{n}.log") for n in range(2)]
    real = [processes.node(release, tmp_path / f"real{n}.log", threads="1") for n in range(2)]
    busy = processes.gateway(release, played, tmp_path / "busy.log", settings={"max_in_flight": str(IN_FLIGHT)})
    calm = processes.gateway(release, real, tmp_path / "calm.log")
    for server in [*played, *real, busy, calm]:
        servers.append(server)
        await asyncio.to_thread(server.start)

    per_second = LOAD * IN_FLIGHT / (TOKENS * PACE_S)
    prompt = "play:" + json.dumps({"texts": ["tick "], "times": TOKENS, "pace_s": PACE_S})
    loads = [
        Callers([busy.url], lambda: prompt, per_second=per_second),
        Callers([calm.url], lambda: random.choice(QUESTIONS), per_second=per_second * REAL_SHARE, max_new_tokens=32),
    ]
    kills = asyncio.create_task(_kill(played, real, every_s))
    samples = asyncio.create_task(memory.watched(busy.pid, seconds, every_s=max(seconds / 600, 0.2)))
    tallies = await asyncio.gather(*(load.run(seconds) for load in loads))
    kills.cancel()
    seen = await samples

    slope = memory.slope_mb_per_min(seen)
    title = f"gateway under {per_second:.0f} requests/s, a node killed every {every_s:g} s: {slope:+.2f} MB/min"
    memory.draw(seen, title, kept / "memory.png")
    for name, tally in zip(("scripted nodes", "real nodes"), tallies, strict=True):
        print(f"\n{name}, {seconds:g} s, a node killed every {every_s:g} s\n{tally.text()}")
    print(f"memory: {seen[0].rss_mb:.0f} MB -> {seen[-1].rss_mb:.0f} MB, {slope:+.2f} MB/min ({kept / 'memory.png'})")
    for tally in tallies:
        assert tally[Outcome.LOST] == 0
        assert tally[Outcome.COMPLETE] > 0.9 * sum(tally.outcomes.values())
    assert busy.is_running()
    assert calm.is_running()
    if seconds >= 600:  # in a shorter time caches still fill
        assert slope < 1.0


async def _kill(played: list[Server], real: list[Server], every_s: float) -> None:
    """Kill one node of each kind in turn, and start it again while its neighbour carries on."""
    turn = 0
    while True:
        await asyncio.sleep(every_s)
        for nodes in (played, real):
            victim = nodes[turn % len(nodes)]
            await asyncio.to_thread(victim.kill)
            await asyncio.to_thread(victim.start)
        turn += 1
