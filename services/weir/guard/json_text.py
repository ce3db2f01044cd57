"""Reads JSON as it arrives, so that its strings can be guarded as they read once decoded."""

import json
from enum import Enum, auto
from typing import Final, NamedTuple

_ESCAPES: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_BLANKS: Final = " \t\r\n"
_MARKUP: Final = frozenset('{}[]:,"' + _BLANKS)
_CLOSERS: Final = {"{": "}", "[": "]"}
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_HALF: Final = "\ufffd"  # half a surrogate pair, which is no character


class Kind(Enum):
    """What a stretch of an answer is. Only `MARKUP`, JSON's own punctuation, is never replaced."""

    TEXT = auto()  # outside JSON
    MARKUP = auto()
    STRING = auto()
    SCALAR = auto()  # a number, true, false, null, or what stands in such a place


class Run(NamedTuple):
    """Some characters of one kind, and how they were written; where that differs it is one character.

    `length`: how many characters of the answer it stands for.
    """

    text: str
    raw: str
    kind: Kind
    length: int
    is_verbatim: bool = True


def plain(text: str, kind: Kind) -> Run:
    return Run(text, text, kind, len(text))


def escaped(text: str) -> str:
    """Return what stands between the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


class JsonReader:
    """Splits one JSON value into runs: the same, joined, however it was cut. It never fails: garbage is read as well.

    `only_object`: a value that does not begin with a brace is none. What follows the value is in `rest`.
    """

    def __init__(self, *, only_object: bool) -> None:
        self._only_object = only_object
        self._opener = ""  # of an object or array at the top, once it was seen
        self._depth = 0
        self._in_string = False
        self._escape = ""  # begun, not complete
        self._runs: list[Run] = []
        self.is_over = False
        self.rest = ""

    def feed(self, text: str) -> list[Run]:
        at = 0
        while at < len(text) and not self.is_over:
            at = self._string(text, at) if self._in_string else self._beside(text, at)
        self.rest = text[at:]
        return self._given()

    def flush(self) -> list[Run]:
        """Return what was begun and will not become an escape any more."""
        while self._escape:
            self._spell_out()
        return self._given()

    def _given(self) -> list[Run]:
        runs, self._runs = self._runs, []
        return runs

    def _beside(self, text: str, at: int) -> int:
        """Take what stands outside strings, up to the next quote or the end."""
        character = text[at]
        if not self._opener and not self._begins(character):
            return at
        end = at + 1
        if character in _MARKUP:
            self._runs.append(plain(character, Kind.MARKUP))
            self._count(character)
            return end
        while end < len(text) and text[end] not in _MARKUP:
            end += 1
        self._runs.append(plain(text[at:end], Kind.SCALAR))
        return end

    def _begins(self, character: str) -> bool:
        """Note what the value is; whether it is one so far."""
        if character in _BLANKS:
            return True
        if self._only_object and character != "{":
            self.is_over = True
            return False
        self._opener = character
        return True

    def _count(self, character: str) -> None:
        if character == '"':
            self._in_string = True
        elif character == self._opener:
            self._depth += 1
        elif character == _CLOSERS.get(self._opener):
            self._depth -= 1
            self.is_over = not self._depth

    def _string(self, text: str, at: int) -> int:
        if self._escape:
            return self._in_escape(text, at)
        end = at
        while end < len(text) and text[end] not in '"\\':
            end += 1
        if end > at:
            self._runs.append(plain(text[at:end], Kind.STRING))
        elif text[end] == "\\":
            self._escape, end = "\\", end + 1
        else:
            self._runs.append(plain('"', Kind.MARKUP))
            self._in_string, end = False, end + 1
            self.is_over = self._opener == '"'
        return end

    def _in_escape(self, text: str, at: int) -> int:
        begun = self._escape + text[at]
        size = len(begun)
        if size == 2 and begun[1] in _ESCAPES:
            return self._decoded(_ESCAPES[begun[1]], begun, at + 1)
        if _may_be_unicode(begun):
            self._escape = begun
            return self._unicode(at + 1) if size in {6, 12} else at + 1
        self._spell_out()
        return at

    def _unicode(self, after: int) -> int:
        begun = self._escape
        first = int(begun[2:6], 16)
        if len(begun) == 12:
            second = int(begun[8:], 16)
            return self._decoded(chr(0x10000 + ((first - 0xD800) << 10) + second - 0xDC00), begun, after)
        if 0xD800 <= first < 0xDC00:
            return after  # the other half may follow
        return self._decoded(_HALF if 0xDC00 <= first < 0xE000 else chr(first), begun, after)

    def _decoded(self, character: str, raw: str, after: int) -> int:
        self._runs.append(Run(character, raw, Kind.STRING, len(raw)))
        self._escape = ""
        return after

    def _spell_out(self) -> None:
        """What was begun is no escape: half a pair (what follows it may be one), or characters as they stand."""
        begun, self._escape = self._escape, self._escape[6:]
        if len(begun) >= 6:
            self._runs.append(Run(_HALF, begun[:6], Kind.STRING, 6))
        else:
            self._runs.append(plain(begun, Kind.STRING))


def _may_be_unicode(begun: str) -> bool:
    r"""Whether `begun` may become `\uXXXX`, or a pair of surrogates."""
    if len(begun) <= 6:
        return begun[1] == "u" and all(digit in _HEX for digit in begun[2:])
    second = begun[6:]
    if not all(given == wanted for given, wanted in zip(second, "\\u", strict=False)):
        return False
    digits = second[2:].lower()
    return (
        all(digit in _HEX for digit in digits) and digits[:1] in {"", "d"} and (len(digits) < 2 or digits[1] in "cdef")
    )
