"""What admission itself costs, without HTTP: `python -m tests.bench.admission`. Best of seven rounds."""

import asyncio
import time
from contextlib import AsyncExitStack, suppress

from prometheus_client import CollectorRegistry

from weir.contracts.errors import OverloadedError
from weir.gateway.admission.door import Admission
from weir.gateway.admission.flows import Work
from weir.gateway.admission.policy import Bounds
from weir.telemetry.metrics import GatewayMetrics

ROUNDS, REQUESTS, KEYS = 7, 2_000, 50


def main() -> None:
    asyncio.run(_measured())


async def _measured() -> None:
    free = _admission(running=1_000)
    print(f"let in: {min([await _let_in(free) for _ in range(ROUNDS)]):.1f} µs")
    full = _admission(running=1)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(full.admitted(Work("first", 1, 1)))
        waiting = [asyncio.create_task(_wait(full, f"key-{i % KEYS}")) for i in range(REQUESTS)]
        await asyncio.sleep(0.1)
        micros = min(_refused(full) for _ in range(ROUNDS))
        print(f"refused while {REQUESTS} requests of {KEYS} keys wait: {micros:.1f} µs")
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _admission(*, running: int) -> Admission:
    bounds = Bounds(running=running, waiting=REQUESTS, tokens=10_000_000)
    return Admission(GatewayMetrics(CollectorRegistry()), bounds, queue_timeout_s=1_000)


async def _let_in(admission: Admission) -> float:
    began = time.perf_counter()
    for _ in range(REQUESTS):
        work = Work("key", 100, 50)
        admission.check(work)
        async with admission.admitted(work) as place:
            place.began()
            place.answer_tokens = 20
    return _micros(began)


async def _wait(admission: Admission, key: str) -> None:
    async with admission.admitted(Work(key, 100, 50)):
        raise AssertionError("nobody gets in")


def _refused(admission: Admission) -> float:
    began = time.perf_counter()
    for _ in range(REQUESTS):
        with suppress(OverloadedError):
            admission.check(Work("key-1", 100, 50))
            raise AssertionError("nobody gets in")
    return _micros(began)


def _micros(began: float) -> float:
    return (time.perf_counter() - began) / REQUESTS * 1e6


if __name__ == "__main__":
    main()
