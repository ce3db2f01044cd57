"""What stands in for a model that is asked once and answers once."""

import asyncio


class Scripted:
    """Answers `delay_s` after it was asked, or fails with `error`; `cancelled`: so many did not wait for it."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.error: Exception | None = None
        self.cancelled = 0

    async def waited(self) -> None:
        try:
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
