"""What a text stands for, and which stretch of its source each part of that comes from."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from weir.guard.rules import MAX_HOLD


class Decoded:
    """A text made from a source, piece by piece.

    `keeps_all`: long stretches that stay as they are are not left out.
    """

    def __init__(self, view: str, *, keeps_all: bool = False) -> None:
        self.view = view
        self._keeps_all = keeps_all
        self._parts: list[str] = []
        self._length = 0
        self._starts: list[int] = []
        self._sources: list[tuple[int, int, bool]] = []  # start, end, whether it is there as it is in the source

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def add(self, text: str, start: int, end: int, *, is_verbatim: bool = False) -> None:
        """Append what `source[start:end]` stands for."""
        if text:
            self._parts.append(text)
            self._starts.append(self._length)
            self._sources.append((start, end, is_verbatim))
            self._length += len(text)

    def add_context(self, source: str, start: int, end: int) -> None:
        """Append `source[start:end]` as it is; of a long stretch only what a find at either end may reach into.

        At the text's own beginning and end there is nothing that a find might reach into it from.
        """
        if self._keeps_all or end - start <= 2 * MAX_HOLD:
            self.add(source[start:end], start, end, is_verbatim=True)
            return
        first = start + MAX_HOLD if start else 0
        last = end - MAX_HOLD if end < len(source) else end
        self.add(source[start:first], start, first, is_verbatim=True)
        self.add("\n", first, last)
        self.add(source[last:end], last, end, is_verbatim=True)

    def is_context(self, start: int, end: int) -> bool:
        """Whether `text[start:end]` stands in the source as it is."""
        first, last = bisect_right(self._starts, start) - 1, bisect_right(self._starts, end - 1) - 1
        return first == last and self._sources[first][2]

    def source_of(self, start: int, end: int) -> tuple[int, int]:
        """Return the stretch of the source that `text[start:end]`, which is not empty, stands for."""
        first, last = bisect_right(self._starts, start) - 1, bisect_right(self._starts, end - 1) - 1
        begin, _, is_verbatim = self._sources[first]
        begin += start - self._starts[first] if is_verbatim else 0
        last_begin, last_end, is_verbatim = self._sources[last]
        return begin, last_begin + end - self._starts[last] if is_verbatim else last_end


class Reading(NamedTuple):
    """A text that another one stands for, by way of `steps`: the source of each is the text before it.

    `kinds`: what the text gives reason to look for (`Decoder.kinds`).
    """

    text: str
    steps: tuple[Decoded, ...]
    kinds: set[str]

    @property
    def view(self) -> str:
        return self.steps[-1].view if self.steps else "plain"

    def source_of(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the stretch of the source that `text[start:end]` stands for; None where it stands there as it is."""
        is_context = True
        for step in reversed(self.steps):
            is_context = is_context and step.is_context(start, end)
            start, end = step.source_of(start, end)
        return None if is_context else (start, end)

    def is_new_in(self, stretches: Iterable[tuple[int, int]], around: int = 0) -> bool:
        """Whether one of the stretches of the text, with so many characters around it, does not stand in the source."""
        if not self.steps:
            return any(True for _ in stretches)
        last = len(self.text)
        return any(
            self.source_of(max(start - around, 0), min(end + around, last)) is not None for start, end in stretches
        )
