"""Finds stop strings in text that arrives in pieces."""

from collections.abc import Sequence


class StopMatcher:
    """Lets text through up to the first stop string; holds one request's state.

    The stop that is complete first wins, then the longer one; how the text is cut into pieces makes no difference
    (tests/unit/test_stops.py). Held back is only the longest suffix that may still become a stop.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """Return the text that is now certain to come before any stop, and whether a stop was found."""
        if not self._stops:
            return text, False
        pending = self._held + text
        found = self._first_stop(pending)
        if found is not None:
            self._held = ""
            return pending[:found], True
        keep = self._possible_start(pending)
        self._held = pending[len(pending) - keep :]
        return pending[: len(pending) - keep], False

    def flush(self) -> str:
        """Return what was held back; once, when the generation ended for another reason."""
        held, self._held = self._held, ""
        return held

    def _first_stop(self, text: str) -> int | None:
        """Index where the stop that is complete first begins."""
        ends = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        return min(ends)[1] if ends else None

    def _possible_start(self, text: str) -> int:
        """Length of the longest suffix of `text` that begins a stop."""
        longest = min(max(map(len, self._stops)) - 1, len(text))
        for length in range(longest, 0, -1):
            tail = text[len(text) - length :]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0
