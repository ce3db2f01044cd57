"""What a text gives reason to look for: which views of it may say anything."""

from collections.abc import Iterable, Mapping
from typing import Any

import re2

from weir.guard.native.library import core
from weir.guard.patterns import Pattern, read_regex
from weir.guard.positions import positions_of

# A letter or Chinese character, and another one behind a single sign or blank.
_HAN = "[\u4e00-\u9fff]"
APART = rf"(?:\b[A-Za-z]|{_HAN})", rf"[ ._*|/~、-](?:[A-Za-z]\b|{_HAN})"

# What a text needs for each of these views to say anything, and characters that it needs for that. Each is asked for
# by itself: they count, and automata that count multiply, so that random characters would make a new state each.
_MARKED_TRIGGERS = (
    ("percent", b"%", "%[0-9a-fA-F]{2}"),
    ("entity", b"&", "&(?:#[0-9xX]|[a-zA-Z]{2,32};)"),
    ("backslash", b"\\", r"\\(?:[xXuU][0-9a-fA-F{]|[0-7]{3})"),
    ("tags", b"<", r"[^\s<>](?:</?[a-zA-Z!][^<>]{0,64}>)+[^\s<>]"),
    ("quoted", b"=", "(?:=[0-9A-Fa-f]{2}){3}"),
    ("hyphens", b"-\n", r"[a-zA-Z]-\n[ \t]?[a-zA-Z]"),
    ("hyphens", b"-\r\n", r"[a-zA-Z]-\r\n[ \t]?[a-zA-Z]"),
)
# The same of those without such a character; asked for in one pass over the text.
_TRIGGERS = {
    "composed": "[\u1100-\u11ff\u3099\u309a]",
    # Capitals, small letters and digits as they follow one another in base64 and hardly in words and names.
    "base64": r"[a-z0-9][A-Z]{1,3}[a-z]{0,2}[A-Z0-9][A-Za-z0-9+/]|[A-Za-z][0-9]{1,2}[A-Za-z][A-Za-z0-9]"
    "|[A-Z]{2}[a-z][A-Z0-9]|[a-z][A-Z][a-z]?[A-Z0-9]",
    "hex": "[0-9a-fA-F]{8}",
    "bytes": "(?:[0-9a-fA-F]{2}[ ,:]{1,2}(?:0x)?){4}",
    "spaced": f"{APART[0]}(?:{APART[1]}){{3}}",
}
_LOOSE = {"spaced"}  # of which positions see more than there is: what stands between its letters counts
_BEFORE_MARK = 4  # bytes: a character


class Triggers:
    """Tells for which views a text gives reason. Immutable."""

    def __init__(self, more: Mapping[str, str]) -> None:
        """Prepare. `more`: regexes to look for too, by the name that is to be returned."""
        options = re2.Options()
        options.never_capture = True
        known = {**_TRIGGERS, **more}
        self._names = tuple(known)
        self._all: Any = re2.Set.SearchSet(options)
        for trigger in known.values():
            self._all.Add(trigger)
        self._all.Compile()
        self._alone = [re2.compile(trigger, options) for trigger in known.values()]
        self._marked = [(kind, mark, re2.compile(regex, options)) for kind, mark, regex in _MARKED_TRIGGERS]
        native = core()
        patterns = () if native is None else tuple(map(_pattern, known.values()))
        self._placed = () if native is None else positions_of(native, patterns)
        placed = {number for places, _ in self._placed for number in places}
        self._unplaced = [number for number in range(len(known)) if number not in placed]  # too large: RE2 is asked
        loose = {number for number, name in enumerate(known) if name in _LOOSE or name in more}
        self._loose = loose.union(self._unplaced)

    def kinds(self, text: str, raw: bytes) -> set[str]:
        """Return the names of what a text, given in UTF-8 too, gives reason to look for."""
        kinds = {self._names[number] for number in self._found(text, raw)}
        for kind, mark, regex in self._marked:
            place = raw.find(mark)
            if place >= 0 and regex.search(raw, max(0, place - _BEFORE_MARK)) is not None:
                kinds.add(kind)
        return kinds

    def _found(self, text: str, raw: bytes) -> Iterable[int]:
        if not self._placed:
            return self._all.Match(raw) or ()
        said = [places[number] for places, part in self._placed for number in part.which(text)] + self._unplaced
        return [number for number in said if number not in self._loose or self._alone[number].search(raw) is not None]


def _pattern(trigger: str) -> Pattern:
    (pattern,) = read_regex(trigger, keeps_case=True, is_streamed=False)
    return pattern
