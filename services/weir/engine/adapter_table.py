"""Which LoRA adapters requests may name: some came with the release, others come and go while the engine runs."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from weir.contracts.errors import ReleaseError, ValidationError
from weir.engine.adapters import Adapter
from weir.engine.packed_model import PackedModel
from weir.engine.step import Model

_LOOK_S: Final = 0.02  # between two looks whether the last answer with an adapter has ended

AtRest = Callable[[Callable[[], None]], Awaitable[None]]


class AdapterTable:
    """Names, and the numbers that rows and shared prefixes know adapters by. A number is never given twice.

    For one event loop. `at_rest` has the engine's thread do something between two steps; `is_used` says whether a
    request with this number is in the engine.
    """

    def __init__(self, model: Model, names: Sequence[str], at_rest: AtRest, is_used: Callable[[int], bool]) -> None:
        self._model = model
        self._at_rest = at_rest
        self._is_used = is_used
        self._numbers = {name: number for number, name in enumerate(names)}
        self._next = itertools.count(len(names))
        self._one_change = asyncio.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._numbers)

    def number(self, name: str | None) -> int:
        """Return an adapter's number; -1: none is asked for.

        Raises:
            ValidationError: there is no such adapter.
        """
        if name is None:
            return -1
        if name not in self._numbers:
            known = ", ".join(self._numbers) or "none"
            raise ValidationError(f"no adapter of this name (this release serves: {known})", "adapter")
        return self._numbers[name]

    async def add(self, adapter: Adapter) -> None:
        """Serve `adapter` under its name; one that had the name goes on for the requests that it began.

        Raises:
            ReleaseError: it does not fit this model, or the served flavour takes no adapters.
        """
        model = self._adaptable(adapter.name)
        async with self._one_change:
            number = next(self._next)
            arranged = await asyncio.to_thread(model.arranged, add={number: adapter})
            await self._at_rest(lambda: model.use(arranged))
            before = self._numbers.get(adapter.name)
            self._numbers[adapter.name] = number
            if before is not None:
                await self._forget(model, before)

    async def remove(self, name: str) -> None:
        """Serve it to no further request, and let go of its memory once the last one has ended.

        Raises:
            ValidationError: there is no such adapter.
        """
        self.number(name)
        model = self._adaptable(name)
        async with self._one_change:
            number = self._numbers.pop(name, None)
            if number is not None:
                await self._forget(model, number)

    async def _forget(self, model: PackedModel, number: int) -> None:
        while self._is_used(number):  # noqa: ASYNC110  it changes on the engine's thread
            await asyncio.sleep(_LOOK_S)
        arranged = await asyncio.to_thread(model.arranged, remove=(number,))
        await self._at_rest(lambda: model.use(arranged))

    def _adaptable(self, name: str) -> PackedModel:
        if not isinstance(self._model, PackedModel):
            raise ReleaseError(f"adapter {name}: only packed flavours take adapters, and this node serves another one")
        return self._model
