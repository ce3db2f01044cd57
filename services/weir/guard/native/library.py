"""What the guard does in C, as Python objects: sets of literals, sets in which terms are looked for, views, watches."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from weir.guard.letters import is_letter
from weir.guard.native.build import LIBRARY

ANYWHERE, AT_WORD, WAITS_ANYWHERE, WAITS_AT_WORD, PLAIN = 1, 2, 4, 8, 16  # of a literal; see literals.h
NO_OPEN, NO_SPELLED_OPEN = 1, 2  # what `TermSets.look` need not tell

_LIBRARY = Path(__file__).resolve().parent / LIBRARY
_NAME = "weir_guard"
_SEVERAL = 1 << 31  # see folding.h
_SCRIPTS = (0, 0x40000), (0xE0000, 0xE1000)  # all characters that letters are among
_CHARACTERS = 0x110000

Find = tuple[int, int, int, int]  # kind, literal, start, end


class Core:
    """The extension module. It keeps the interpreter's lock for what is short, and releases it for long texts."""

    def __init__(self, path: Path) -> None:
        loader = ExtensionFileLoader(_NAME, str(path))
        spec = spec_from_loader(_NAME, loader)
        if spec is None:
            raise ImportError(f"{path} is no module")
        self.module: Any = module_from_spec(spec)
        loader.exec_module(self.module)
        self.letters = _letters()
        self.checks: Mapping[str, int] = {name: number for number, name in enumerate(self.module.check_names())}


@cache
def core() -> Core | None:
    """Return the library; none: no C compiler, or no header of Python's, was there when Weir was installed."""
    return Core(_LIBRARY) if _LIBRARY.is_file() else None


def wide(text: str) -> bytes:
    """Return a text as the library reads it."""
    return text.encode("utf-32-le", "surrogatepass")


class LiteralSet:
    """Different literals, none of them empty. Immutable."""

    def __init__(self, made_by: Core, literals: Sequence[str], flags: bytes) -> None:
        """Build. `flags`: for each literal, what its terms ask for."""
        lengths = array("I", map(len, literals)).tobytes()
        self.held = made_by.module.literal_set(wide("".join(literals)), lengths, flags)
        self._module = made_by.module

    def find(self, raw: bytes, mapping: bytes | None = None) -> Sequence[Find]:
        """Return where literals stand in a wide text, or in what `mapping` makes of its first plane."""
        found: Sequence[Find] = self._module.find(self.held, raw, mapping)
        return found

    def which(self, raw: bytes) -> Sequence[int]:
        """Return which literals stand in a wide text."""
        found: Sequence[int] = self._module.which(self.held, raw)
        return found

    def find_drawn_out(self, raw: bytes, letters: str) -> Sequence[Find]:
        """Return where literals stand once each of `letters` follows itself nowhere, in places of the text."""
        found: Sequence[Find] = self._module.find_drawn_out(self.held, raw, wide(letters))
        return found


class TermSets:
    """Terms as they are written, in leet and spelled out. Immutable."""

    def __init__(self, made_by: Core, sets: Sequence[LiteralSet | None]) -> None:
        self.held = made_by.module.term_sets(tuple(None if one is None else one.held for one in sets), made_by.letters)
        self._look = made_by.module.look

    def look(self, raw: bytes, begin: int, options: int) -> tuple[int, Sequence[Find]]:
        """Return from where on more text may make a find, and the finds; those that start at or behind `begin`."""
        found: tuple[int, Sequence[Find]] = self._look(self.held, raw, begin, options)
        return found


class FoldTable:
    """What characters become in the plain view. Immutable."""

    def __init__(self, made_by: Core, changes: Mapping[int, str]) -> None:
        words, longer = array("I"), array("I")
        for code, becomes in changes.items():
            words.extend((code, ord(becomes) if len(becomes) == 1 else _SEVERAL | len(longer)))
            if len(becomes) != 1:
                longer.extend((len(becomes), *map(ord, becomes)))
        self.held = made_by.module.fold_table(words.tobytes(), longer.tobytes())
        self._plain = made_by.module.plain
        self._plain_with_origins = made_by.module.plain_with_origins

    def plain(self, text: str) -> str:
        folded: str = self._plain(self.held, text)
        return folded

    def plain_with_origins(self, text: str, first: int) -> tuple[str, list[int] | None]:
        """As `fold.plain_with_origins`; None: each character became one."""
        folded: tuple[str, list[int] | None] = self._plain_with_origins(self.held, text, first)
        return folded


class Watch(Protocol):
    """A text that streams, as long as it is simple: nothing is found in it, and each character becomes one."""

    seen: int
    held: int

    def feed(self, text: str, /) -> str | None:
        """Return what is released of the text, as it is; None: it is not that simple, and was not taken in."""
        ...

    def flush(self) -> str | None:
        """Return the rest; None: it is not that simple."""
        ...

    def state(self) -> tuple[str, str, int, int]:
        """Return the text that is not forgotten, its plain view, how much of it was released, characters taken in."""
        ...

    def load(self, text: str, decided: int, seen: int, /) -> bool:
        """Go on with another text, its beginning released; False: it is not that simple."""
        ...

    def copy(self) -> "Watch": ...


class Watcher:
    """Rules for streams. Immutable, but for what it learns about their regexes."""

    def __init__(
        self, made_by: Core, fold: FoldTable, automaton: Any, backward: object, terms: Sequence[tuple[TermSets, bool]]
    ) -> None:
        """Prepare. `terms`: with whether they are letters only.

        `automaton`, `backward`: of the regexes; None: there are none, or they are too many to look at closely.
        """
        parts = tuple((sets.held, is_letters_only) for sets, is_letters_only in terms)
        held = None if automaton is None else automaton.held
        self.automaton = automaton
        self._rules = made_by.module.Watcher(fold.held, held, backward, parts)

    def begin(self) -> Watch:
        watch: Watch = self._rules.begin()
        return watch


def drawn_out(made_by: Core, raw: bytes) -> str:
    """Return the characters, but for ASCII, that stand three times in a row, or twice beside another that does."""
    found: str = made_by.module.drawn_out(raw)
    return found


def encoded_words(made_by: Core, raw: bytes, least: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield where words are that may be text in base64: of `least` characters, not small letters behind any first one.

    All that are words, which need not be text, are looked at as far as they have `most` characters.
    """
    return ((start, end) for _, _, start, end in made_by.module.encoded_words(raw, least, most))


def _letters() -> bytes:
    """Return a bit for each character: whether it is a letter, digit or mark."""
    bits = bytearray(_CHARACTERS // 8)
    for code in chain.from_iterable(range(*script) for script in _SCRIPTS):
        if is_letter(chr(code)):
            bits[code >> 3] |= 1 << (code & 7)
    return bytes(bits)
