"""The output guard for answers that hold JSON: tool calls, and answers that were asked for as JSON.

A string is guarded as it reads once decoded, so that no escape hides anything; then the whole is guarded as one text,
in which a find may begin in one string and end in another. What is replaced stays JSON: punctuation is kept, the
replacement is written as a part of a string, a number becomes a string.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

from weir.guard.decision import OnFind, Piece
from weir.guard.json_text import JsonReader, Kind, Run, escaped, plain
from weir.guard.output import OutputGuard, StreamGuard
from weir.guard.rules import Action, Find, Rule

_MAX_SCALAR: Final = 64  # characters; what is longer is no number
_REPLACES: Final = frozenset({Action.REDACT, Action.REWRITE})
_QUOTE: Final = Piece('"', 0, is_verbatim=False)


class StructuredGuard:
    """As `StreamGuard`, for one answer. Where a fallback's text would stand inside JSON, it blocks.

    `opening`: the mark after which a JSON object begins, if any. `begins_inside`: the answer itself is a JSON value.
    """

    def __init__(
        self, guard: OutputGuard, *, opening: str | None, begins_inside: bool, on_find: OnFind | None = None
    ) -> None:
        self._guard = guard
        self._split = _Splitter(opening, begins_inside=begins_inside)
        self._on_find = on_find
        self._flagged: set[tuple[int, str]] = set()  # in strings, which the whole guard sees once more
        self._whole = guard.stream(self._found_in_whole)
        self._string: StreamGuard | None = None
        self._in_string: deque[Run] = deque()  # taken by `_string`, not decided
        self._in_whole: deque[Run] = deque()
        self._writer = _Writer()
        self._decoded = 0  # characters taken so far, strings decoded
        self._seen = self._sent = 0
        self.blocked_by: str | None = None
        self.fallback_by: str | None = None
        self.num_overflows = 0

    @property
    def is_over(self) -> bool:
        return self.blocked_by is not None or self.fallback_by is not None

    @property
    def held_chars(self) -> int:
        return 0 if self.is_over else self._seen - self._sent

    def feed(self, text: str) -> list[Piece]:
        """Take in `text`; return what is decided now."""
        self._seen += len(text)
        return self._taken(self._split.feed(text), is_end=False)

    def flush(self) -> list[Piece]:
        """Return what was held back. Call once, at the end of the answer."""
        return self._taken(self._split.flush(), is_end=True)

    def _taken(self, runs: Iterable[Run], *, is_end: bool) -> list[Piece]:
        if self.is_over:
            return []
        certain: list[Run] = []
        for run in runs:
            certain += self._guarded_string(run)
            if self._is_string_over:
                break
        if is_end:
            certain += self._end_string()
        pieces = self._guarded_whole(certain, is_end=is_end or self._is_string_over)
        self._sent += sum(piece.length for piece in pieces)
        return pieces

    @property
    def _is_string_over(self) -> bool:
        return self._string is not None and self._string.is_over

    def _guarded_string(self, run: Run) -> list[Run]:
        if run.kind is not Kind.STRING:
            before = self._end_string()
            self._decoded += len(run.text)
            return before if self._is_string_over else [*before, run]
        if self._string is None:
            self._string = self._guard.stream(self._found_in_string(self._decoded))
        self._decoded += len(run.text)
        self._in_string.append(run)
        return self._put_back(self._string, self._string.feed(run.text))

    def _end_string(self) -> list[Run]:
        if self._string is None or self._string.is_over:
            return []
        runs = self._put_back(self._string, self._string.flush())
        self.num_overflows += self._string.num_overflows
        if not self._string.is_over:
            self._string = None
        return runs

    def _put_back(self, string: StreamGuard, pieces: Sequence[Piece]) -> list[Run]:
        """Return decided pieces of a string as runs again; a fallback's text, which is the last, is no part of it."""
        runs: list[Run] = []
        for piece in pieces[:-1] if string.fallback_by is not None else pieces:
            if piece.is_verbatim:
                runs += _taken_from(self._in_string, len(piece.text))
                continue
            length = sum(run.length for run in _taken_from(self._in_string, piece.length))
            runs += _replacement(piece.text, length)
        return runs

    def _guarded_whole(self, runs: list[Run], *, is_end: bool) -> list[Piece]:
        self._in_whole += runs
        pieces = self._whole.feed("".join(run.text for run in runs))
        if is_end and not self._whole.is_over:
            pieces = [*pieces, *self._whole.flush()]
        written = self._writer.written(pieces, self._in_whole)
        self._note_end()
        if not is_end and not self.is_over:
            return written
        self.num_overflows += self._whole.num_overflows
        return [*written, *self._writer.end(self._in_whole)]

    def _note_end(self) -> None:
        whole, string = self._whole, self._string
        if self._writer.is_cut:
            self.blocked_by = whole.fallback_by
        elif whole.is_over:
            self.blocked_by, self.fallback_by = whole.blocked_by, whole.fallback_by
        elif string is not None:
            self.blocked_by = string.blocked_by or string.fallback_by

    def _found_in_string(self, begin: int) -> OnFind:
        def found(find: Find, matched: str) -> None:
            self._flagged.add((find.order, matched))
            if self._on_find is not None:
                self._on_find(find._replace(start=find.start + begin, end=find.end + begin), matched)

        return found

    def _found_in_whole(self, find: Find, matched: str) -> None:
        if self._on_find is not None and (find.order, matched) not in self._flagged:
            self._on_find(find, matched)


class Decoded:
    """A whole JSON text as it reads: `text` has what its strings mean in place of how they are written."""

    def __init__(self, json_text: str) -> None:
        reader = JsonReader(only_object=False)
        self._runs = [*reader.feed(json_text), *reader.flush()]
        if reader.rest:
            self._runs.append(plain(reader.rest, Kind.TEXT))
        self.text = "".join(run.text for run in self._runs)

    def rewritten(self, finds: Iterable[Find], rules: Sequence[Rule]) -> str:
        """Return the JSON text with replacements for `finds`, which were found in `text`."""
        writer, queue = _Writer(), deque(self._runs)
        pieces = [*writer.written(_pieces(self.text, finds, rules), queue), *writer.end(queue)]
        return "".join(piece.text for piece in pieces)


def _pieces(text: str, finds: Iterable[Find], rules: Sequence[Rule]) -> Iterator[Piece]:
    """Overlapping finds are one, which is replaced as the first of them says."""
    done = 0
    for find in sorted(finds):
        if rules[find.order].action not in _REPLACES or find.end <= done:
            continue
        is_new = find.start >= done
        if find.start > done:
            yield Piece(text[done : find.start], find.start - done, is_verbatim=True)
        done = max(done, find.start)
        yield Piece(rules[find.order].replacement if is_new else "", find.end - done, is_verbatim=False)
        done = find.end
    if done < len(text):
        yield Piece(text[done:], len(text) - done, is_verbatim=True)


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
        self.is_cut = False  # by a fallback, whose text has no place in JSON

    def written(self, pieces: Iterable[Piece], queue: deque[Run]) -> list[Piece]:
        for piece in pieces:
            if piece.is_verbatim:
                for run in _taken_from(queue, len(piece.text)):
                    self._verbatim(run)
            elif not piece.length:  # a fallback's
                self.is_cut = not queue or queue[0].kind is not Kind.TEXT
                self._pieces += [] if self.is_cut else [piece]
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
