"""Tells admission how many requests the nodes answer together, where they say it themselves."""

import asyncio
from collections.abc import Callable

from weir.gateway.admission.door import Admission


class Sizing:
    """`slots` asks the nodes in use; none: not all of them say."""

    def __init__(self, slots: Callable[[], int | None], admission: Admission, *, interval_s: float) -> None:
        self._slots = slots
        self._admission = admission
        self._interval_s = interval_s
        self._told: int | None = None

    def look(self) -> None:
        """Tell it, if it has changed; while no node is in use, what was said last holds."""
        slots = self._slots()
        if slots is not None and slots != self._told:
            self._told = slots
            self._admission.expect(slots)

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            self.look()
