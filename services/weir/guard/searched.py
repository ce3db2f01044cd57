"""A text that is searched in several ways."""

from typing import Any

from weir.guard.native.library import wide


class Searched:
    """Folded text, and its other forms as they are asked for. `looked`: what an index last found in it."""

    __slots__ = ("_wide", "looked", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.looked: tuple[Any, ...] | None = None
        self._wide: bytes | None = None

    @property
    def wide(self) -> bytes:
        if self._wide is None:
            self._wide = wide(self.text)
        return self._wide
