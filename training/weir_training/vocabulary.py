"""Which tokens the output layer of a packed flavour keeps, when a recipe says that a domain's are enough.

Kept with `export.vocabulary.keep: data`, each counted under the first reason that holds:

    control    every added token of the tokenizer, and every token that ends an answer
    bytes      every single byte and every single character: with those any text can still be said
    data       every token of the training rows, as the release's template renders them
    languages  every token whose letters are all of the named languages' scripts, or that has no letters (digits, signs,
               white space), or that is a piece of a character; with `rank_below` only those with a smaller id

Text whose letters are of the named scripts is tokenised into kept tokens only, unless `rank_below` cuts. Inputs are not
concerned: a prompt may hold any token.
"""

import json
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from weir.contracts.errors import JobError
from weir.release.prompts import load_chat_template
from weir.release.tokenizer import ReleaseTokenizer
from weir_training.data import Row
from weir_training.recipe import Language, VocabularyPart

# Beginnings of Unicode character names, which name the script.
_LATIN, _HAN = ("LATIN",), ("CJK", "IDEOGRAPHIC", "BOPOMOFO")
_SCRIPTS: Final[dict[Language, tuple[str, ...]]] = {
    "ar": ("ARABIC",),
    "de": _LATIN,
    "el": ("GREEK",),
    "en": _LATIN,
    "es": _LATIN,
    "fr": _LATIN,
    "he": ("HEBREW",),
    "hi": ("DEVANAGARI",),
    "it": _LATIN,
    "ja": (*_HAN, "HIRAGANA", "KATAKANA"),
    "ko": (*_HAN, "HANGUL"),
    "nl": _LATIN,
    "pl": _LATIN,
    "pt": _LATIN,
    "ru": ("CYRILLIC",),
    "th": ("THAI",),
    "tr": _LATIN,
    "vi": _LATIN,
    "zh": _HAN,
}
_ANY_SCRIPT = ("COMBINING", "VARIATION SELECTOR")
_BROKEN = "\ufffd"  # what a decoder shows for a piece of a character


@dataclass(frozen=True, slots=True)
class KeptTokens:
    """`ids` ascend; `of` is the vocabulary; `counts` by reason, in the order of this module's words."""

    ids: tuple[int, ...]
    of: int
    counts: dict[str, int]


def kept_tokens(part: VocabularyPart, checkpoint: Path, rows: Sequence[Row]) -> KeptTokens | None:
    """Return the tokens that stay; None when all do.

    Raises:
        JobError: the tokenizer has no bytes to fall back to, so not every text could be said any more.
    """
    if part.keep == "whole":
        return None
    size = int(json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["vocab_size"])
    spellings = _Spellings(checkpoint / "tokenizer.json")
    reasons = {
        "control": spellings.added | _end_ids(checkpoint),
        "bytes": spellings.bytes,
        "data": frozenset(_data_ids(rows, checkpoint)),
        "languages": frozenset(_language_ids(part, spellings)),
    }
    kept: set[int] = set()
    counts = {}
    for reason, ids in reasons.items():
        new = {token for token in ids if token < size} - kept
        counts[reason] = len(new)
        kept |= new
    return KeptTokens(tuple(sorted(kept)), size, counts)


class _Spellings:
    """A tokenizer file, looked at from the tokens' side."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self.tokenizer: Any = Tokenizer.from_file(str(path))
        self.vocabulary: dict[str, int] = self.tokenizer.get_vocab(with_added_tokens=False)
        self.added = frozenset(int(token) for token in self.tokenizer.get_added_tokens_decoder())
        alphabet = self._byte_spellings(json.loads(path.read_text(encoding="utf-8")).get("decoder") or {})
        missing = alphabet - self.vocabulary.keys()
        if missing or not alphabet:
            lost = f"{len(missing)} of 256 bytes are no tokens" if alphabet else "its tokens are no bytes"
            raise JobError(
                f"export.vocabulary: the tokenizer cannot say every text ({lost}); keep the whole vocabulary"
            )
        singles = alphabet | {spelling for spelling in self.vocabulary if len(spelling) == 1}
        self.bytes = frozenset(self.vocabulary[spelling] for spelling in singles)

    def texts(self, below: int) -> Iterator[tuple[int, str]]:
        """Yield every token with an id below the bound, and what it says alone."""
        for token in self.vocabulary.values():
            if token < below:
                yield token, self.tokenizer.decode([token], skip_special_tokens=False)

    @staticmethod
    def _byte_spellings(decoder: dict[str, Any]) -> frozenset[str]:
        from tokenizers.pre_tokenizers import ByteLevel

        kinds = {step["type"] for step in (decoder, *decoder.get("decoders", ())) if "type" in step}
        if "ByteLevel" in kinds:
            return frozenset(ByteLevel.alphabet())
        return frozenset(f"<0x{byte:02X}>" for byte in range(256)) if "ByteFallback" in kinds else frozenset()


def _end_ids(checkpoint: Path) -> frozenset[int]:
    from weir_training.encode import load_tokenizer
    from weir_training.resolve import eos_ids

    return frozenset(eos_ids(checkpoint, load_tokenizer(checkpoint)))


def _data_ids(rows: Iterable[Row], checkpoint: Path) -> set[int]:
    """Every token of the rows, as trained and as asked (the turn that is opened for an answer may have its own)."""
    tokenizer = ReleaseTokenizer(checkpoint / "tokenizer.json")
    template = load_chat_template(checkpoint, tokenizer)
    if template is None:
        raise JobError(f"{checkpoint.name}: the checkpoint has no chat template")
    found: set[int] = set()
    for row in rows:
        found.update(tokenizer.encode(template.render(row.turns, add_generation_prompt=False)))
        found.update(tokenizer.encode(template.render(row.question)))
    return found


def _language_ids(part: VocabularyPart, spellings: _Spellings) -> Iterator[int]:
    if not part.languages:
        return
    scripts = tuple(sorted({name for language in part.languages for name in _SCRIPTS[language]}))
    below = part.rank_below or len(spellings.vocabulary) + len(spellings.added)
    for token, text in spellings.texts(below):
        if _BROKEN in text or is_written_in(text, scripts):
            yield token


def is_written_in(text: str, scripts: Collection[str]) -> bool:
    """Whether every letter's Unicode name begins with one of `scripts`; text without letters is."""
    known = (*scripts, *_ANY_SCRIPT)
    return all(name.startswith(known) for name in map(_letter_name, unicodedata.normalize("NFKC", text)) if name)


@lru_cache(maxsize=1 << 16)
def _letter_name(character: str) -> str:
    """The name of a letter or of a mark on one; empty for anything else."""
    return unicodedata.name(character, "?") if unicodedata.category(character)[0] in "LM" else ""
