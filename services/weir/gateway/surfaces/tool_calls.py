"""Reads tool calls out of an answer as it arrives."""

import re
import secrets
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

import orjson

from weir.release.tool_format import ToolFormat

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\{)')
_MAX_HEAD: Final = 512  # a name has at most 64 characters; the rest may be blanks
_MARKS = re.compile(r'["\\{}]')


class Content(NamedTuple):
    """Text beside calls."""

    text: str


class CallBegun(NamedTuple):
    """The `number`th call of the answer; its arguments follow in pieces."""

    number: int
    id: str
    name: str


class Arguments(NamedTuple):
    """Some more of the JSON text of a call's arguments."""

    number: int
    text: str


Part = Content | CallBegun | Arguments


class ToolCallReader:
    """Splits one answer into text and calls: the same, joined, however the answer was cut.

    Text that may still become a mark is held back, so that half a mark is never content. Blanks before a call are
    dropped. What stands between the marks and is no call of a known tool is content, marks included. `is_call`: the
    whole answer is one call, without marks (the prompt ended with the opening one).
    """

    def __init__(self, form: ToolFormat, names: Collection[str], *, is_call: bool = False) -> None:
        self._form = form
        self._names = names
        self._is_call = is_call
        self._text = ""  # not decided yet
        self._reads = self._in_head if is_call else self._beside
        self._object = _ObjectEnd()
        self.calls = 0

    def feed(self, text: str) -> list[Part]:
        """Return what is certain now."""
        self._text += text
        return list(self._parts())

    def flush(self, *, is_cut: bool) -> list[Part]:
        """Return the rest, at the end of the answer. `is_cut`: it was not the model that ended it."""
        text, self._text = self._text, ""
        if self._reads == self._beside:
            if is_cut:
                text = text[: len(text) - _begun(text, self._form.opening)]
            text = text.rstrip() if self.calls else text
            return [Content(text)] if text else []
        if self._reads != self._in_head:
            return []
        whole = self._whole_call(text)
        if whole or is_cut:
            return whole
        return [Content(text if self._is_call else self._form.opening + text)]

    def _parts(self) -> Iterator[Part]:
        """Go on until a state wants more text: it yields None last."""
        while True:
            for part in self._reads():
                if part is None:
                    return
                yield part

    def _beside(self) -> Iterator[Part | None]:
        before, opening, after = self._text.partition(self._form.opening)
        if opening:
            self._text, self._reads = after, self._in_head
            if before := before.rstrip():
                yield Content(before)
            return
        certain = before[: len(before) - _begun(before, self._form.opening)].rstrip()
        self._text = before[len(certain) :]
        if certain:
            yield Content(certain)
        yield None

    def _in_head(self) -> Iterator[Part | None]:
        head = _HEAD.match(self._text[: _MAX_HEAD + 1])
        name = _loaded(head.group(1)) if head else None
        if head and name in self._names and head.end() <= _MAX_HEAD:
            self._text, self._reads, self._object = self._text[head.end() :], self._in_arguments, _ObjectEnd()
            yield self._begin(str(name))
            return
        body, closing, after = self._text.partition(self._form.closing)
        if self._is_call or not closing:
            yield None
            return
        self._text, self._reads = after, self._beside
        yield from self._whole_call(body) or [Content(f"{self._form.opening}{body}{closing}")]

    def _in_arguments(self) -> Iterator[Part | None]:
        end = self._object.find(self._text)
        piece, self._text = self._text[:end], self._text[end:]
        if piece:
            yield Arguments(self.calls - 1, piece)
        if not self._object.is_over:
            yield None
        self._reads = self._in_tail

    def _in_tail(self) -> Iterator[Part | None]:
        _, closing, after = self._text.partition(self._form.closing)
        if not closing:
            kept = _begun(self._text, self._form.closing)
            self._text = self._text[len(self._text) - kept :]
            yield None
        self._text, self._reads = after, self._beside

    def _whole_call(self, body: str) -> list[Part]:
        """Read a call whose name does not come first; none when it is not one."""
        call = _loaded(body)
        if not isinstance(call, dict) or call.get("name") not in self._names:
            return []
        arguments = orjson.dumps(call.get("arguments") or {}).decode()
        begun = self._begin(str(call["name"]))
        return [begun, Arguments(begun.number, arguments)]

    def _begin(self, name: str) -> CallBegun:
        self.calls += 1
        return CallBegun(self.calls - 1, f"call_{secrets.token_hex(12)}", name)


class _ObjectEnd:
    """Finds where a JSON object ends that arrives in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._skip = 0  # characters of the next piece that an escape covers
        self.is_over = False

    def find(self, text: str) -> int:
        """Return how much of `text` belongs to the object."""
        at, self._skip = self._skip, 0
        while found := _MARKS.search(text, at):
            at = found.end()
            mark = found.group()
            if mark == '"':
                self._in_string = not self._in_string
            elif mark == "\\":
                at += 1
            elif not self._in_string:
                self._depth += 1 if mark == "{" else -1
                if not self._depth:
                    self.is_over = True
                    return at
        self._skip = max(at - len(text), 0)
        return len(text)


def _begun(text: str, mark: str) -> int:
    """Return how many last characters of `text` may be the beginning of `mark`."""
    longest = min(len(text), len(mark) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(mark[:length])), 0)


def _loaded(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
