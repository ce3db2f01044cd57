"""When a node that has fallen silent is believed to be gone."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from weir.backends.pulse import NoPulseError, Pulse
from weir.contracts.errors import BackendUnavailableError


class Patient:
    """Beats `count` times, then falls silent; the canary says `canary`."""

    def __init__(self, count: int = 2, canary: bool | None = False) -> None:
        self.count = count
        self.canary = canary
        self.lost = 0
        self.asked = 0
        self.pulse = Pulse(self.beats, self.is_alive, self._lose)

    async def beats(self) -> AsyncGenerator[None, None]:
        for _ in range(self.count):
            await asyncio.sleep(0.001)
            yield
        await asyncio.sleep(3600)

    async def is_alive(self) -> bool | None:
        self.asked += 1
        return self.canary

    def _lose(self) -> None:
        self.lost += 1


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weir.backends.pulse._LEAST_PATIENCE_S", 0.02)
    monkeypatch.setattr("weir.backends.pulse._GAPS", 0.0)
    monkeypatch.setattr("weir.backends.pulse._PAUSE_S", 0.01)


async def until(is_so) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_silence_and_a_canary_that_fails_mean_that_it_is_gone() -> None:
    patient = Patient(canary=False)
    patient.pulse.start()
    await until(lambda: patient.lost)
    assert patient.pulse.is_silent
    assert not await patient.pulse.heard_within(0)
    await patient.pulse.aclose()


async def test_silence_alone_does_not() -> None:
    patient = Patient(canary=None)
    patient.pulse.start()
    await until(lambda: patient.asked > 2)
    assert patient.lost == 0
    await patient.pulse.aclose()


async def test_a_canary_that_answers_ends_the_doubt() -> None:
    patient = Patient(canary=True)
    patient.pulse.start()
    await until(lambda: patient.asked > 1)
    assert not patient.pulse.is_silent
    assert patient.lost == 0
    await patient.pulse.aclose()


async def test_it_is_heard_again_when_beats_come_back() -> None:
    patient = Patient(count=0, canary=False)
    patient.pulse.start()
    await until(lambda: patient.lost)
    patient.count = 10**9
    assert await patient.pulse.heard_within(10)
    await patient.pulse.aclose()


@pytest.mark.parametrize("error", [NoPulseError(), BackendUnavailableError("not loaded")])
async def test_a_model_without_beats_is_never_silent(error: Exception) -> None:
    patient = Patient()

    async def none() -> AsyncGenerator[None, None]:
        raise error
        yield

    pulse = Pulse(none, patient.is_alive, patient._lose)
    pulse.start()
    await asyncio.sleep(0.05)
    assert not pulse.is_silent
    assert patient.asked == 0
    await pulse.aclose()
