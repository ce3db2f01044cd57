"""The output guard for answers that hold JSON: tool calls, and answers that were asked for as JSON.

A string is guarded as it reads once decoded, so that no escape hides anything; then the whole is guarded as one text,
in which a find may begin in one string and end in another. What is replaced stays JSON: punctuation is kept, the
replacement is written as a part of a string, a number becomes a string.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, Literal

from weir.guard.json_text import JsonReader, Kind, Run, escaped, plain
from weir.guard.output import OutputGuard, Piece, StreamGuard

_MAX_SCALAR: Final = 64  # characters; what is longer is no number
_QUOTE: Final = Piece('"', 0, is_verbatim=False)


class StructuredGuard:
    """As `StreamGuard`, for one answer.

    `opening`: the mark after which a JSON object begins, if any. `begins_inside`: the answer itself is a JSON value.
    """

    def __init__(self, guard: OutputGuard, *, opening: str | None, begins_inside: bool) -> None:
        self._guard = guard
        self._split = _Splitter(opening, begins_inside=begins_inside)
        self._whole = guard.stream()
        self._string: StreamGuard | None = None
        self._in_string: deque[Run] = deque()  # taken by `_string`, not decided
        self._in_whole: deque[Run] = deque()
        self._writer = _Writer()
        self._seen = self._sent = 0
        self.blocked_by: str | None = None
        self.found: set[str] = set()

    @property
    def held_chars(self) -> int:
        return self._seen - self._sent

    def feed(self, text: str) -> list[Piece]:
        """Take in `text`; return what is decided now."""
        self._seen += len(text)
        return self._taken(self._split.feed(text), is_end=False)

    def flush(self) -> list[Piece]:
        """Return what was held back. Call once, at the end of the answer."""
        return self._taken(self._split.flush(), is_end=True)

    def _taken(self, runs: Iterable[Run], *, is_end: bool) -> list[Piece]:
        if self.blocked_by is not None:
            return []
        certain: list[Run] = []
        for run in runs:
            certain += self._guarded_string(run)
            if self._is_blocked(self._string):
                break
        if is_end:
            certain += self._end_string()
        is_end = is_end or self._is_blocked(self._string)
        pieces = self._guarded_whole(certain, is_end=is_end)
        self._sent += sum(piece.length for piece in pieces)
        return pieces

    def _guarded_string(self, run: Run) -> list[Run]:
        if run.kind is not Kind.STRING:
            return [*self._end_string(), run]
        if self._string is None:
            self._string = self._guard.stream()
        self._in_string.append(run)
        return _put_back(self._string.feed(run.text), self._in_string)

    def _end_string(self) -> list[Run]:
        string = self._string
        if string is None or string.blocked_by is not None:
            return []
        runs = _put_back(string.flush(), self._in_string)
        self.found |= string.found
        if string.blocked_by is None:
            self._string = None
        return runs

    def _is_blocked(self, string: StreamGuard | None) -> bool:
        return string is not None and string.blocked_by is not None

    def _guarded_whole(self, runs: list[Run], *, is_end: bool) -> list[Piece]:
        self._in_whole += runs
        pieces = self._whole.feed("".join(run.text for run in runs))
        if is_end and self._whole.blocked_by is None:
            pieces = [*pieces, *self._whole.flush()]
        self.found |= self._whole.found
        written = self._writer.written(pieces, self._in_whole)
        if self._whole.blocked_by is not None or self._is_blocked(self._string):
            self.blocked_by = self._whole.blocked_by or (self._string and self._string.blocked_by)
            self.found |= self._string.found if self._string is not None else set()
        return [*written, *self._writer.end(self._in_whole)] if is_end else written


class _Splitter:
    """Tells JSON from the text around it."""

    def __init__(self, opening: str | None, *, begins_inside: bool) -> None:
        self._opening = opening
        self._json = JsonReader(only_object=False) if begins_inside else None
        self._text = ""  # may be the beginning of a mark

    def feed(self, text: str) -> list[Run]:
        runs: list[Run] = []
        while text:
            if self._json is None:
                text = self._outside(text, runs)
            else:
                runs += self._json.feed(text)
                text = self._json.rest
                self._json = None if self._json.is_over else self._json
        return runs

    def flush(self) -> list[Run]:
        if self._json is not None:
            return self._json.flush()
        text, self._text = self._text, ""
        return [plain(text, Kind.TEXT)] if text else []

    def _outside(self, text: str, runs: list[Run]) -> str:
        if self._opening is None:
            runs.append(plain(text, Kind.TEXT))
            return ""
        text = self._text + text
        before, mark, after = text.partition(self._opening)
        kept = 0 if mark else _begun(before, self._opening)
        self._text = before[len(before) - kept :]
        if certain := before[: len(before) - kept] + mark:
            runs.append(plain(certain, Kind.TEXT))
        if mark:
            self._json = JsonReader(only_object=True)
        return after


class _Writer:
    """Writes decided text as it was, and replacements so that the JSON around them stays JSON."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._scalar: list[Piece] = []  # unchanged so far, and not over
        self._scalar_as: Literal["", "text", "string"] = ""  # what it turned out to be, until it is over

    def written(self, pieces: Iterable[Piece], queue: deque[Run]) -> list[Piece]:
        for piece in pieces:
            if piece.is_verbatim:
                for run in _taken_from(queue, len(piece.text)):
                    self._verbatim(run)
            else:
                self._replaced(piece, queue)
        return self._given()

    def end(self, queue: deque[Run]) -> list[Piece]:
        """Return the rest, when the whole answer is decided; of a queue only what stands for nothing."""
        self._end_scalar()
        while queue and not queue[0].text:
            self._verbatim(queue.popleft())
        return self._given()

    def _given(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def _verbatim(self, run: Run) -> None:
        piece = Piece(run.raw, run.length, run.is_verbatim)
        if run.kind is not Kind.SCALAR:
            self._end_scalar()
            self._pieces.append(piece)
        elif self._scalar_as == "text":
            self._pieces.append(piece)
        elif self._scalar_as == "string":
            self._pieces.append(_in_string(piece))
        else:
            self._scalar.append(piece)
            self._give_up_on_what_is_long()

    def _give_up_on_what_is_long(self) -> None:
        if sum(piece.length for piece in self._scalar) > _MAX_SCALAR:
            self._pieces += self._scalar
            self._scalar, self._scalar_as = [], "text"

    def _replaced(self, piece: Piece, queue: deque[Run]) -> None:
        """The replacement stands in the first place that is no punctuation."""
        text = piece.text
        for run in _taken_from(queue, piece.length):
            if run.kind is Kind.MARKUP:
                self._verbatim(run)
                continue
            if run.kind is Kind.SCALAR:
                self._make_string()
            else:
                self._end_scalar()
            is_text = run.kind is Kind.TEXT or self._scalar_as == "text"
            self._pieces.append(Piece(text if is_text else escaped(text), run.length, is_verbatim=False))
            text = ""

    def _make_string(self) -> None:
        if not self._scalar_as:
            self._pieces.append(_QUOTE)
            self._pieces += map(_in_string, self._scalar)
            self._scalar, self._scalar_as = [], "string"

    def _end_scalar(self) -> None:
        self._pieces += self._scalar
        if self._scalar_as == "string":
            self._pieces.append(_QUOTE)
        self._scalar, self._scalar_as = [], ""


def _in_string(piece: Piece) -> Piece:
    return Piece(escaped(piece.text), piece.length, is_verbatim=False)


def _taken_from(queue: deque[Run], count: int) -> Iterable[Run]:
    """Yield the next `count` characters of the queue."""
    while count:
        run = queue.popleft()
        if len(run.text) <= count:
            count -= len(run.text)
            yield run
            continue
        # Only what is written as it reads has several characters; of a replacement the first part stands for all.
        first, rest = run.text[:count], run.text[count:]
        length = count if run.is_verbatim else run.length
        yield Run(first, first, run.kind, length, run.is_verbatim)
        queue.appendleft(Run(rest, rest, run.kind, run.length - length, run.is_verbatim))
        count = 0


def _put_back(pieces: Iterable[Piece], queue: deque[Run]) -> list[Run]:
    """Return decided pieces of a string as runs again."""
    runs: list[Run] = []
    for piece in pieces:
        if piece.is_verbatim:
            runs += _taken_from(queue, len(piece.text))
            continue
        length = sum(run.length for run in _taken_from(queue, piece.length))
        runs += _replacement(piece.text, length)
    return runs


def _replacement(text: str, length: int) -> list[Run]:
    """One run a character, as each may be written in another way; all the length stands with the first."""
    if not text:
        return [Run("", "", Kind.STRING, length, is_verbatim=False)]
    return [
        Run(character, escaped(character), Kind.STRING, 0 if number else length, is_verbatim=False)
        for number, character in enumerate(text)
    ]


def _begun(text: str, mark: str) -> int:
    """Return how many last characters of `text` may be the beginning of `mark`."""
    longest = min(len(text), len(mark) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(mark[:length])), 0)
