"""The C search as Python objects: sets of literals, and the three sets in which terms are looked for."""

import ctypes
import weakref
from array import array
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from weir.guard.letters import is_letter

ANYWHERE, AT_WORD, WAITS_ANYWHERE, WAITS_AT_WORD, PLAIN = 1, 2, 4, 8, 16  # of a literal; see literals.h
KINDS = 4  # of sets in which terms are looked for: written, leet, joined, apart
NO_OPEN, NO_SPELLED_OPEN = 1, 2  # what `TermSets.look` need not tell

_LIBRARY = Path(__file__).resolve().parent / "libweir_guard.so"
_LARGE = 1 << 14  # characters; what is searched in them lets other threads run
_SHORT = 256  # characters; in so few, something is seldom found
_LOW = (1 << 32) - 1
_NO_MEMORY = "the guard's search"
_ROOM = 16  # finds, at first
_SCRIPTS = (0, 0x40000), (0xE0000, 0xE1000)  # all characters that letters are among
_CHARACTERS = 0x110000

Find = tuple[int, int, int, int]  # kind, literal, start, end


class Core:
    """The library. Without the lock for what is short or needs it (`quick`), with it released for the rest."""

    def __init__(self, path: Path) -> None:
        self.quick, self.slow = ctypes.PyDLL(str(path)), ctypes.CDLL(str(path))
        for library in (self.quick, self.slow):
            library.weir_set_new.restype = ctypes.c_void_p
            library.weir_set_new.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint32, ctypes.c_char_p]
            library.weir_set_free.argtypes = [ctypes.c_void_p]
            library.weir_set_free.restype = None
            library.weir_terms.argtypes = [ctypes.c_void_p, ctypes.c_char_p, *[ctypes.c_int32] * 3, ctypes.c_void_p,
                                           ctypes.c_int32]  # fmt: skip
            library.weir_terms_brief.argtypes = [ctypes.c_void_p, ctypes.c_char_p, *[ctypes.c_int32] * 3]
            library.weir_terms_brief.restype = ctypes.c_int64
            library.weir_find.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_char_p,
                                          ctypes.c_void_p, ctypes.c_int32]  # fmt: skip
            library.weir_find_which.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p,
                                                ctypes.c_int32]  # fmt: skip
            library.weir_find_drawn_out.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_char_p,
                                                    ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32]  # fmt: skip
            library.weir_encoded_words.argtypes = [ctypes.c_char_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p,
                                                   ctypes.c_int32]  # fmt: skip
            library.weir_is_drawn_out.argtypes = [ctypes.c_char_p, ctypes.c_int32]
        self.letters = _letters()

    def of(self, size: int) -> Any:
        """Return the library to search so many characters with."""
        return self.quick if size <= _LARGE else self.slow


@cache
def core() -> Core | None:
    """Return the library; none: no C compiler was there when Weir was installed."""
    return Core(_LIBRARY) if _LIBRARY.is_file() else None


def wide(text: str) -> bytes:
    """Return a text as the library reads it."""
    return text.encode("utf-32-le", "surrogatepass")


class LiteralSet:
    """Different literals, none of them empty. Immutable."""

    def __init__(self, made_by: Core, literals: Sequence[str], flags: bytes) -> None:
        """Build. `flags`: for each literal, what its terms ask for."""
        self._core, self._count = made_by, made_by.quick.weir_find
        self._num_literals = len(literals)
        lengths = array("I", map(len, literals)).tobytes()
        self.pointer = made_by.slow.weir_set_new(wide("".join(literals)), lengths, len(literals), flags)
        if not self.pointer:
            raise MemoryError("the guard's literals")
        weakref.finalize(self, made_by.quick.weir_set_free, self.pointer)

    def find(self, raw: bytes, mapping: bytes | None = None) -> Sequence[Find]:
        """Return where literals stand in a wide text, or in what `mapping` makes of its first plane."""
        size = len(raw) >> 2
        if size < _SHORT and not self._count(self.pointer, raw, size, mapping, None, 0):
            return ()
        search = self._core.of(size).weir_find
        return _finds(lambda out, room: search(self.pointer, raw, size, mapping, out, room))

    def which(self, raw: bytes) -> Sequence[int]:
        """Return which literals stand in a wide text."""
        size = len(raw) >> 2
        search, room = self._core.of(size).weir_find_which, _ROOM
        while True:
            out = (ctypes.c_int32 * room)()
            count = search(self.pointer, raw, size, out, room)
            if count < 0:
                raise MemoryError(_NO_MEMORY)
            if count <= room:
                return out[:count] if count else ()
            room = count

    def find_drawn_out(self, raw: bytes, letters: str) -> Sequence[Find]:
        """Return where literals stand once each of `letters` follows itself nowhere, in places of the text."""
        size = len(raw) // 4
        some = wide(letters)
        search = self._core.of(size).weir_find_drawn_out
        return _finds(lambda out, room: search(self.pointer, raw, size, some, len(letters), out, room))


class TermSets:
    """Terms as they are written, in leet and spelled out. Immutable."""

    def __init__(self, made_by: Core, sets: Sequence[LiteralSet | None]) -> None:
        self._core = made_by
        self._sets = tuple(sets)
        letters = ctypes.cast(ctypes.c_char_p(made_by.letters), ctypes.c_void_p).value
        pointers = [None if one is None else one.pointer for one in self._sets]
        self._terms = (ctypes.c_void_p * (KINDS + 1))(*pointers, letters)
        self._address = ctypes.addressof(self._terms)
        self._brief = made_by.quick.weir_terms_brief

    def look(self, raw: bytes, begin: int, options: int) -> tuple[int, Sequence[Find]]:
        """Return from where on more text may make a find, and the finds; those that start at or behind `begin`."""
        size = len(raw) >> 2
        if size < _SHORT:  # mostly nothing is found, and then no room for it has to be made
            told = self._brief(self._address, raw, size, begin, options)
            if told >> 32 == 0:
                return told & _LOW, ()
        search, room = self._core.of(size - begin).weir_terms, _ROOM
        while True:
            out = (ctypes.c_int32 * (4 * room + 1))()
            count = search(self._address, raw, size, begin, options, out, room)
            if count <= room:
                return out[0], _read(out, 1, count)
            room = count


def is_drawn_out(made_by: Core, raw: bytes) -> bool:
    """Whether, ASCII left out, a character stands three times in a row, or twice before another that does."""
    size = len(raw) // 4
    return bool(made_by.of(size).weir_is_drawn_out(raw, size))


def encoded_words(made_by: Core, raw: bytes, least: int) -> Sequence[tuple[int, int, bool]]:
    """Return where words are that base64 may be: of `least` characters, not small letters behind any first one.

    The last of each says whether it may hold text.
    """
    size = len(raw) // 4
    search = made_by.of(size).weir_encoded_words
    found = _finds(lambda out, room: search(raw, size, least, out, room))
    return [(start, end, bool(is_text)) for _, is_text, start, end in found]


def _finds(search: Any) -> Sequence[Find]:
    room = _ROOM
    while True:
        out = (ctypes.c_int32 * (4 * room))()
        count = search(out, room)
        if count <= room:
            return _read(out, 0, count)
        room = count


def _read(out: Any, first: int, count: int) -> Sequence[Find]:
    if count < 0:
        raise MemoryError(_NO_MEMORY)
    if not count:
        return ()
    numbers = iter(out[first : first + 4 * count])
    return list(zip(numbers, numbers, numbers, numbers, strict=True))


def _letters() -> bytes:
    """Return a bit for each character: whether it is a letter, digit or mark."""
    bits = bytearray(_CHARACTERS // 8)
    for code in chain.from_iterable(range(*script) for script in _SCRIPTS):
        if is_letter(chr(code)):
            bits[code >> 3] |= 1 << (code & 7)
    return bytes(bits)
