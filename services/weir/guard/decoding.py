"""What encoded parts of a prompt say: percent, entity and backslash escapes, letters in tags, base64 and hexadecimal.

A decoded text knows which stretch of its source each of its parts stands for: a run of escapes, or a word of base64, is
one stretch. The work is bounded: so many escapes of a kind, so many characters of base64, in two rounds.
"""

import binascii
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from html.entities import html5
from itertools import islice
from types import MappingProxyType
from typing import Any

import re2

from weir.guard.native.library import core, encoded_words, wide
from weir.guard.readings import Decoded, Reading
from weir.guard.triggers import APART, Triggers

_ROUNDS = 2  # base64 of base64
_MAX_ESCAPES = 10_000  # of a kind, in one text
_MAX_ENCODED_CHARS = 64 * 1024  # of base64 and hexadecimal in one text
_LEAST_ENCODED = 6  # characters: a word of four letters in base64
_NEAR = 8  # characters between two escapes that make one run all the same
_LONGEST_ENTITY = 32
_LONGEST_TAG = 66
_MAX_HYPHENS = 1_000
_NEAR_HYPHEN = 48  # characters on either side that a term which goes on in the next line may have
_MAX_SPACED = 1_000  # words spelled out letter by letter
_MAX_COMPOSED = 4_000  # words in parts of hangul

_HEX_DIGITS = b"0123456789abcdefABCDEF"
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-"
_WORDS = bytes(byte if byte in _ALPHABET else 0x20 for byte in range(256))
_HEX = {f"{byte:02{case}}": bytes([byte]) for byte in range(256) for case in "xX"}
_HEX |= {a + b: bytes([int(a + b, 16)]) for a in "abcdef" for b in "ABCDEF"}
_HEX |= {b + a: bytes([int(b + a, 16)]) for a in "abcdef" for b in "ABCDEF"}
_ENTITIES = {name: said.encode() for name, said in html5.items() if name.endswith(";")}
_ENTITIES |= {f"#{code};": bytes([code]) for code in range(1, 128)}
_OCTAL = {f"{byte:03o}": bytes([byte]) for byte in range(256)}

# In Python: they are short, and never go back, so that they are found as fast as RE2 would be asked.
_COMPOSABLE = re.compile("[\u1100-\u11ff]+|[^\u3099\u309a][\u3099\u309a]")
_HYPHENS = re.compile(r"-(?<=[a-zA-Z]-)\r?\n[ \t]?[a-zA-Z]")


class Decoder:
    """Finds what a text stands for. Immutable."""

    def __init__(self, triggers: Mapping[str, str]) -> None:
        """Prepare. `triggers`: regexes that `kinds` is to look for too, by the name that it is to return."""
        options = re2.Options()
        options.never_capture = True
        self._triggers = Triggers(triggers)
        self._spaced: Any = re2.compile(f"{APART[0]}(?:{APART[1]})+", options)
        self._bytes: Any = re2.compile(r"(?:(?:0x)?[0-9a-fA-F]{2}[ ,:]{1,2}){3,}(?:0x)?[0-9a-fA-F]{2}\b", options)

    def kinds(self, text: str, raw: bytes) -> set[str]:
        """Return the names of what a text, given in UTF-8 too, gives reason to look for."""
        return self._triggers.kinds(text, raw)

    def readings(self, text: str, kinds: set[str]) -> Iterator[Reading]:
        """Yield what plain `text` stands for, undone once and twice."""
        latest = [Reading(text, (), kinds)]
        for _ in range(_ROUNDS):
            latest = [further for reading in latest for further in self._further(reading)]
            yield from latest

    def _further(self, reading: Reading) -> Iterator[Reading]:
        steps, text = reading.steps, reading.text
        escapes = [kind for kind in _ESCAPES if kind in reading.kinds]
        keeps_all = len(escapes) + ("composed" in reading.kinds) > 1  # what is far from one kind may be another one
        if "composed" in reading.kinds:
            steps = (*steps, self._composed(text, keeps_all=keeps_all))
            text = steps[-1].text
        for kind in escapes:
            steps = (*steps, _undone(text, kind, keeps_all=keeps_all))
            text = steps[-1].text
        if reading.view not in _WHOLLY_READ:
            yield from self._words(reading)
        if steps is not reading.steps:  # only what is near the escapes is left: the rest was looked at just now
            undone = self._reading(text, steps)
            yield undone
            yield from self._words(undone)

    def _words(self, reading: Reading) -> Iterator[Reading]:
        """Yield what words stand for that are encoded, hyphenated or spelled out letter by letter."""
        kinds, text = reading.kinds, reading.text
        steps: list[Decoded] = []
        if not _ENCODED.isdisjoint(kinds):
            words = sorted((*_encoded_words(text), *(self._spaced_bytes(text) if "bytes" in kinds else ())))
            if reading.is_new_in((start, end) for start, end, _ in words):
                steps.append(_decoded(text, words))
        if "hyphens" in kinds:
            joints = [joint.span() for joint in islice(_HYPHENS.finditer(text), _MAX_HYPHENS)]
            if reading.is_new_in(joints, _NEAR_HYPHEN + 1):
                steps.append(_joined(text, joints))
        if "spaced" in kinds:
            spelled = list(islice(_spans(self._spaced, text), _MAX_SPACED))
            if reading.is_new_in(spelled):
                steps.append(_unspaced(text, spelled))
        for step in steps:
            yield self._reading(step.text, (*reading.steps, step))

    def _reading(self, text: str, steps: tuple[Decoded, ...]) -> Reading:
        return Reading(text, steps, self.kinds(text, _raw(text)))

    def _spaced_bytes(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield hexadecimal bytes that have something between them: 73 65 63, 0x73, 0x65."""
        for start, end in _spans(self._bytes, text[:_MAX_ENCODED_CHARS]):
            said = _printable(bytes.fromhex(text[start:end].encode().translate(_WORDS).decode().replace("0x", " ")))
            if said is not None:
                yield start, end, said

    def _composed(self, text: str, *, keeps_all: bool) -> Decoded:
        """Put together the parts of hangul syllables and of voiced kana."""
        out, before = Decoded("composed", keeps_all=keeps_all), 0
        for found in islice(_COMPOSABLE.finditer(text), _MAX_COMPOSED):
            start, end = found.span()
            out.add_context(text, before, start)
            out.add(unicodedata.normalize("NFC", found.group()), start, end)
            before = end
        out.add_context(text, before, len(text))
        return out


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _spans(regex: Any, text: str) -> Iterator[tuple[int, int]]:
    """Yield where a regex is found. RE2's wrapper would count characters itself, which takes longer than the search."""
    raw, byte, character = _raw(text), 0, 0
    for match in regex.finditer(raw):
        start, end = match.span()
        first = character + len(raw[byte:start].decode("utf-8", "surrogatepass"))
        byte, character = end, first + len(raw[start:end].decode("utf-8", "surrogatepass"))
        yield first, character


def _decoded(text: str, words: Iterable[tuple[int, int, str]]) -> Decoded:
    """Put together what words say."""
    out, before = Decoded("base64"), 0
    for start, end, said in words:
        if before and text[before:start].strip():
            out.add("\n", before, start)  # parts on lines of their own are one message, others are not
        out.add(said, start, end)
        before = end
    return out


def _joined(text: str, joints: Iterable[tuple[int, int]]) -> Decoded:
    """Put together words that go on in the next line, with what is near them."""
    out, before = Decoded("hyphens"), 0
    for start, end in joints:
        begin = max(before, start - _NEAR_HYPHEN)
        _add_gap(out, text, before, begin)
        out.add(text[begin:start], begin, start, is_verbatim=True)
        before = end - 1
    _add_gap(out, text, before, len(text))
    return out


def _unspaced(text: str, spelled: Iterable[tuple[int, int]]) -> Decoded:
    """Put together words whose letters stand apart; what is wider stays between them."""
    out, before = Decoded("spaced"), 0
    for start, end in spelled:
        out.add_context(text, before, start)
        out.add(text[start:end:2], start, end)
        before = end
    out.add_context(text, before, len(text))
    return out


def _add_gap(out: Decoded, text: str, start: int, end: int) -> None:
    """Append what is near the joint before it; what is near the one behind it follows."""
    near = min(start + _NEAR_HYPHEN, end) if start else 0
    if near:
        out.add(text[start:near], start, near, is_verbatim=True)
    if near < end:
        out.add("\n", near, end)


def _undone(text: str, view: str, *, keeps_all: bool) -> Decoded:
    """Undo the escapes of a kind; those near each other are one run, which stands for one stretch."""
    marker, read = _ESCAPES[view]
    first, *pieces = text.split(marker, _MAX_ESCAPES)
    out = Decoded(view, keeps_all=keeps_all)
    context_from, position = 0, len(first)
    run_from, run = -1, bytearray()  # -1: there is none
    for piece in pieces:
        data, used = read(piece)
        end = position + len(marker) + len(piece)
        if data is not None or run_from >= 0:
            if run_from < 0:
                out.add_context(text, context_from, position)
                run_from = position
            run += data or b""
            rest = marker + piece if data is None else piece[used:]
            if len(rest) > _NEAR:
                context_from = end - len(rest)
                out.add(_text_of(run), run_from, context_from)
                run_from = -1
                run.clear()
            else:
                run += rest.encode("utf-8", "surrogatepass")
        position = end
    if run_from < 0:
        out.add_context(text, context_from, position)
    else:
        out.add(_text_of(run), run_from, position)
    return out


def _text_of(data: bytes | bytearray) -> str:
    if data.isascii():
        return data.decode("ascii")
    try:
        text = data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("gb18030", "replace")
    if any("\ud800" <= character <= "\udfff" for character in text):  # halves of one character
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _percent(piece: str) -> tuple[bytes | None, int]:
    return _HEX.get(piece[:2]), 2


def _tag(piece: str) -> tuple[bytes | None, int]:
    end = piece.find(">", 1, _LONGEST_TAG) + 1
    return (b"" if end else None), end


def _backslash(piece: str) -> tuple[bytes | None, int]:
    kind = piece[:1]
    if kind in ("x", "X"):
        return _HEX.get(piece[1:3]), 3
    if piece[:2] == "u{":
        end = piece.find("}", 3, 10)
        return (_codepoint(piece[2:end], 16), end + 1) if end > 0 else (None, 0)
    if kind in ("u", "U"):
        width = 4 if kind == "u" else 8
        digits = piece[1 : 1 + width]
        return (_codepoint(digits, 16), 1 + width) if len(digits) == width else (None, 0)
    return _OCTAL.get(piece[:3]), 3


def _entity(piece: str) -> tuple[bytes | None, int]:
    end = piece.find(";", 0, _LONGEST_ENTITY) + 1
    known = _ENTITIES.get(piece[:end])
    if known is not None or piece[:1] != "#":
        return known, end
    base, first, digits = (16, 2, "0123456789abcdefABCDEF") if piece[1:2] in ("x", "X") else (10, 1, "0123456789")
    window = piece[first : first + 8]
    number = window[: len(window) - len(window.lstrip(digits))]
    end = first + len(number)
    return _codepoint(number, base), end + (piece[end : end + 1] == ";")


def _codepoint(digits: str, base: int) -> bytes | None:
    try:
        return chr(int(digits, base)).encode("utf-8", "surrogatepass")
    except (ValueError, OverflowError):
        return None


def _encoded_words(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield where words of base64 or hexadecimal are, and what they say."""
    native = core()
    if native is None:
        words = _words(text, _MAX_ENCODED_CHARS)
    else:
        words = encoded_words(native, wide(text), _LEAST_ENCODED, _MAX_ENCODED_CHARS)
    for start, end in words:
        said = _said(text[start:end].encode())
        if said is not None:
            yield start, end, said


def _words(text: str, most: int) -> Iterator[tuple[int, int]]:
    """Yield where words are that may be encoded, as many as have `most` characters."""
    position = 0
    words = text.encode("utf-8", "replace").translate(_WORDS).split()
    for word in [word for word in words if len(word) >= _LEAST_ENCODED]:  # no other word has one of these in it
        start = text.index(word.decode(), position)
        position = start + len(word)
        if word.isalpha() and word[1:].islower():
            continue
        most -= len(word)
        if most < 0:
            return
        yield start, position


def _said(word: bytes) -> str | None:
    if len(word) % 2 == 0 and not word.translate(None, _HEX_DIGITS):
        said = _printable(bytes.fromhex(word.decode()))
        if said is not None:
            return said
    if len(word) % 4 == 1 or word.isdigit():
        return None
    return _printable(binascii.a2b_base64(word.translate(_STANDARD) + b"=" * (-len(word) % 4)))


def _printable(data: bytes) -> str | None:
    """Return the text that `data` is, if people can read it."""
    try:
        text = data.decode("utf-16-le" if data[1::2].count(0) * 2 == len(data) else "utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() or text.translate(_NO_BREAKS).isprintable() else None


_STANDARD = bytes.maketrans(b"-_", b"+/")
_NO_BREAKS = str.maketrans("\n\r\t", "   ")
_ENCODED = {"base64", "hex", "bytes"}
_Read = Callable[[str], tuple[bytes | None, int]]  # what the text behind a marker stands for, and how far it goes
_ESCAPES: Mapping[str, tuple[str, _Read]] = MappingProxyType(
    {"percent": ("%", _percent), "entity": ("&", _entity), "backslash": ("\\", _backslash), "tags": ("<", _tag)}
    | {"quoted": ("=", _percent)}
)
_WHOLLY_READ = {*_ESCAPES, "composed"}  # views whose words were read when they were made
