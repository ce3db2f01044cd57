"""Writes the guard's character tables (services/weir/guard/tables): `make guard-tables`, with the `dev` extra.

Sources: Python's unicodedata, Unicode's confusables (confusable-homoglyphs), OpenCC's character dictionary, pypinyin's
phrases. The files are committed, so that what a guard finds does not depend on the Python version that it runs on.
"""

import json
import re
import string
import sys
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import opencc
from confusable_homoglyphs import confusables
from pypinyin import lazy_pinyin
from pypinyin.phrases_dict import phrases_dict

TABLES = Path(__file__).parents[1] / "services/weir/guard/tables"

# Scripts with letters that pass for Latin ones. Those of right-to-left and of South and East Asian scripts are left
# alone: a Persian alef is not an l to any reader.
_LOOKALIKE_SCRIPTS = re.compile(
    "ARMENIAN|CANADIAN|CARIAN|CHEROKEE|COPTIC|CYRILLIC|DESERET|ELBASAN|GREEK|LATIN|LISU|LYCIAN|MIAO|OLD|OSAGE|RUNIC"
    "|TIFINAGH|WARANG|APL|ESTIMATED"
)
_BY_HAND = {  # beyond the published list, or against it: I and l are different letters once folded
    "ß": "ss",
    "ẞ": "SS",
    "æ": "ae",
    "Æ": "AE",
    "œ": "oe",
    "Œ": "OE",
    **dict(zip("ΙιІіⲒⲓƖɩıӀӏſȷ", "IiIiIiIiillsj", strict=True)),
    **dict(zip("Σσςϲωκτ", "σσσcwkt", strict=True)),
    **dict(zip("ðÐŋŊɑɛƐʃʒ", "dDnNaeEsz", strict=True)),
    **dict(zip("ᲀᲁᲂᲃᲄᲅᲆᲇᲈ", "bдocttъѣꙋ", strict=True)),  # RE2 takes them for these where case does not count
}
_LATIN_NAME = re.compile(
    r"LATIN (?:SMALL |CAPITAL )?LETTER (?:SMALL CAPITAL |TURNED |REVERSED |OPEN |BARRED |SCRIPT |DOTLESS )?([A-Z])"
    r"(?: WITH .*)?"
)
_ENCLOSED_NUMBER = re.compile(r"CIRCLED|PARENTHESIZED|FULL STOP|COMMA")
_DROPPED_MARKS = re.compile(r"COMBINING|VARIATION SELECTOR|MONGOLIAN|HEBREW|ARABIC|SYRIAC|CYRILLIC|IDEOGRAPHIC|HANGUL")
_COMMON = 0.15  # the share of a reading among those of a character, from which on it counts
_VOICING = "\u3099\u309a"
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u0640\u034f\u2065")
_PUNCTUATION = {
    **dict.fromkeys("‘’‛ʼ′＇", "'"),
    **dict.fromkeys("“”„‟″", '"'),
    **dict.fromkeys("‐‑‒–—―−﹣", "-"),
    **dict.fromkeys("\u2028\u2029\x85", "\n"),
    "\u1680": " ",
    "🔟": "10",
}
_PERSIAN = {"ي": "ی", "ى": "ی", "ك": "ک", "ہ": "ه", "ۀ": "ه"}  # two code points of one letter
_BRAILLE = {  # dots of a to z
    chr(0x2800 + dots): letter
    for letter, dots in zip(
        string.ascii_lowercase,
        (1, 3, 9, 25, 17, 11, 27, 19, 10, 26, 5, 7, 13, 29, 21, 15, 31, 23, 14, 30, 37, 39, 58, 45, 61, 53),
        strict=True,
    )
}
_ENCLOSED = {
    chr(first + index): string.ascii_uppercase[index]
    for first in (0x1F110, 0x1F130, 0x1F150, 0x1F170, 0x1F1E6)
    for index in range(26)
} | {chr(0x249C + index): letter for index, letter in enumerate(string.ascii_lowercase)}
_FIXED = _ENCLOSED | _PUNCTUATION | _PERSIAN | _BRAILLE


def lookalikes() -> dict[str, str]:
    """Return letters of other alphabets (and decorated Latin ones) with the ASCII letter that each is read as."""
    found = {
        letter: near[0]
        for letter, alternatives in confusables.confusables_data.items()
        if len(letter) == 1
        and not letter.isascii()
        and _LOOKALIKE_SCRIPTS.match(unicodedata.name(letter, "?"))
        and unicodedata.category(letter)[0] in "LS"
        and (near := [a["c"] for a in alternatives if len(a["c"]) == 1 and a["c"] in string.ascii_letters])
    }
    for codepoint in range(0x80, 0x1FFFF):
        letter = chr(codepoint)
        named = _LATIN_NAME.fullmatch(unicodedata.name(letter, ""))
        if named and letter not in found:
            found[letter] = named[1] if letter.isupper() else named[1].lower()
    found |= _BY_HAND
    return _with_both_cases(found)


def _with_both_cases(found: dict[str, str]) -> dict[str, str]:
    """Give a capital the letter of its small form, and the other way round, where only one of them is listed.

    A Russian term is then found however its case is written: В looks like B, so в is read as b too.
    """
    both = dict(found)
    for letter, near in found.items():
        for other in (letter.lower(), letter.upper()):
            if len(other) == 1 and other not in found and not other.isascii():
                both[other] = near.upper() if other.isupper() else near.lower()
    return both


class Folding:
    """Computes what one character becomes."""

    def __init__(self) -> None:
        self._near = lookalikes()
        self._simplified = opencc.OpenCC("t2s").convert

    def plain(self, character: str) -> str:
        """Fold until nothing changes, so that folding twice is folding once."""
        folded = self._once(character)
        while (again := "".join(map(self._once, folded))) != folded:
            folded = again
        return folded

    def _once(self, character: str) -> str:
        if 0xE0020 <= ord(character) <= 0xE007E:  # tag characters carry ASCII
            return chr(ord(character) - 0xE0000)
        known = _FIXED.get(character, _number(character))
        if known is not None or _is_dropped(character):
            return known or ""
        if unicodedata.name(character, "").startswith("PARENTHESIZED"):
            return unicodedata.normalize("NFKD", character).strip("()")
        if character in self._near or _is_syllable(character):
            return self._near.get(character, character)
        return "".join(map(self._part, unicodedata.normalize("NFKD", character)))

    def _part(self, part: str) -> str:
        if _is_dropped(part):
            return ""
        if part in self._near:
            return self._near[part]
        simplified = self._simplified(part) if unicodedata.category(part) == "Lo" else part
        return simplified if len(simplified) == 1 else part


def _is_dropped(character: str) -> bool:
    codepoint, category = ord(character), unicodedata.category(character)
    if character in _FILLERS or category == "Cf" or 0xE0000 <= codepoint <= 0xE0FFF:
        return True
    if character in _VOICING:
        return False
    # The marks of Indic, Thai and the like are vowels: without them other words would be left.
    return category in {"Mn", "Me"} and bool(_DROPPED_MARKS.match(unicodedata.name(character, "")))


def _is_syllable(character: str) -> bool:
    """Hangul and voiced kana stay whole: their parts are no letters of their own (バカ is not within バガ)."""
    decomposed = unicodedata.normalize("NFD", character)
    return len(decomposed) > 1 and (decomposed[1] in _VOICING or "\uac00" <= character <= "\ud7a3")


def _number(character: str) -> str | None:
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    value = unicodedata.numeric(character, None)
    is_enclosed = unicodedata.category(character) == "No" and _ENCLOSED_NUMBER.search(unicodedata.name(character))
    return str(int(value)) if is_enclosed and value is not None and value == int(value) else None


def fold_table() -> dict[str, str]:
    """Return, for each text that characters become, those characters; the empty text's are the dropped ones."""
    folding = Folding()
    becoming: dict[str, list[str]] = defaultdict(list)
    for codepoint in range(0x80, sys.maxunicode + 1):
        character = chr(codepoint)
        if unicodedata.category(character) in {"Cs", "Co"}:
            continue
        folded = folding.plain(character)
        if folded != character:
            becoming[folded].append(character)
    return {folded: "".join(sources) for folded, sources in sorted(becoming.items())}


def pinyin_table() -> dict[str, str]:
    """Return the characters of each toneless syllable: those mostly read so, a bar, those sometimes."""
    readings: dict[str, Counter[str]] = defaultdict(Counter)
    for phrase, syllables in phrases_dict.items():
        for character, (syllable, *_) in zip(phrase, syllables, strict=False):
            readings[character][_toneless(syllable)] += 1
    first: dict[str, list[str]] = defaultdict(list)
    second: dict[str, list[str]] = defaultdict(list)
    for character in _simplified_characters():
        usual = lazy_pinyin(character, v_to_u=False)[0]
        counted = readings[character]
        common = [reading for reading, n in counted.most_common(2) if n >= _COMMON * counted.total()] or [usual]
        common.sort(key=lambda reading: reading != usual)
        first[common[0]].append(character)
        second[common[-1]] += [character] if len(common) > 1 else []
    return {s: "".join(first[s]) + "|" + "".join(second[s]) for s in sorted({*first, *second}) if s.isalpha()}


def _toneless(syllable: str) -> str:
    marked = unicodedata.normalize("NFD", syllable.replace("ü", "v"))
    return "".join(c for c in marked if not unicodedata.combining(c)).replace("ɡ", "g").replace("ɑ", "a")


def _simplified_characters() -> list[str]:
    """Return the 6,763 characters of GB 2312."""
    rows = (bytes((row, cell)) for row in range(0xB0, 0xF8) for cell in range(0xA1, 0xFF))
    return [character for row in rows if (character := row.decode("gb2312", "ignore"))]


def _write(name: str, table: dict[str, str]) -> None:
    written = json.dumps(table, indent=0)  # ASCII: no invisible characters in a file that people review
    (TABLES / name).write_text(written + "\n", "utf-8")


def main() -> None:
    TABLES.mkdir(exist_ok=True)
    _write("fold.json", fold_table())
    _write("pinyin.json", pinyin_table())


if __name__ == "__main__":
    main()
