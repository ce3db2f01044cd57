"""Terms as they are looked for: as they are written, in leet, and spelled out with something between their letters.

All positions are those of the folded text. `portable_terms` and `core_terms` search it, with the same result.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from weir.contracts.errors import UsageError
from weir.guard.fold import is_word_character, spellings
from weir.guard.letters import MAX_GAP, differs_by_leet, is_joined_script, squeeze
from weir.guard.rules import MAX_HOLD, Boundary, Rule
from weir.guard.searched import Searched

_LEAST_LETTERS = 4  # of a term that is looked for in leet or spelled out letter by letter
_LEAST_UNCHANGED = 2  # letters that leet must leave as they are


class Span(NamedTuple):
    """Where a rule holds in a view: `[start, end)`. `is_latin`: it holds for a term written in ASCII."""

    start: int
    end: int
    order: int
    view: str
    is_latin: bool = False


class TermIndex(Protocol):
    """Answers, of a text that may go on: which terms stand in it, and from where on its end could still become one."""

    def spans(self, text: Searched, begin: int, *, is_end: bool) -> Iterable[Span]:
        """Return the finds that start at or behind `begin`. `text[:begin]` is context; `is_end`: nothing follows."""
        ...

    def open_from(self, text: Searched, begin: int) -> int:
        """Return where the longest end of `text` starts, not before `begin`, that more text may make a find."""
        ...


class Use(NamedTuple):
    """A rule's terms. `order`: the rule's place among all rules."""

    order: int
    rule: str
    terms: tuple[str, ...]
    boundary: Boundary
    is_squeezed: bool


class Term(NamedTuple):
    order: int
    folded: str
    left: bool  # must not follow a word character
    right: bool  # must not be followed by one
    is_squeezed: bool
    is_latin: bool


class SpelledTerm(NamedTuple):
    """`letters`: those of the term. `is_joined`: in a script that is written without spaces, or in syllables."""

    term: Term
    letters: str
    is_joined: bool


class TermLists(NamedTuple):
    """The terms to look for as they are written, in leet, and spelled out."""

    written: Sequence[Term]
    leet: Sequence[Term]
    spelled: Sequence[SpelledTerm]


def uses_of(rules: Sequence[Rule]) -> tuple[Use, ...]:
    return tuple(
        Use(order, r.id, r.terms, r.boundary, is_squeezed=r.is_squeezed) for order, r in enumerate(rules) if r.terms
    )


def term_lists(uses: Sequence[Use]) -> TermLists:
    terms = list(dict.fromkeys(term for use in uses for term in _terms(use)))
    squeezed = [term for term in terms if term.is_squeezed]
    leets = [
        term for term in squeezed if term.folded.isascii() and sum(map(str.isalpha, term.folded)) >= _LEAST_LETTERS
    ]
    spelled = {(one.term.order, one.letters): one for one in map(_spelled, reversed(squeezed)) if one is not None}
    return TermLists(terms, leets, list(spelled.values()))


def _spelled(term: Term) -> SpelledTerm | None:
    """Return the term as it is spelled out letter by letter; None: it is too short or too long for that."""
    letters = squeeze(term.folded)
    is_joined = is_joined_script(letters)
    is_fit = (2 if is_joined else _LEAST_LETTERS) <= len(letters) <= MAX_HOLD // (MAX_GAP + 1)
    return SpelledTerm(term, letters, is_joined) if is_fit else None


def _terms(use: Use) -> Iterator[Term]:
    for written in use.terms:
        for folded in sorted(spellings(written)):
            if len(folded) > MAX_HOLD:
                raise UsageError(f"rule {use.rule!r}: a term has more than {MAX_HOLD} characters")
            if folded:
                bounds = _bounds(use.boundary, folded)
                yield Term(use.order, folded, *bounds, use.is_squeezed, written.isascii())


def _bounds(boundary: Boundary, folded: str) -> tuple[bool, bool]:
    if boundary == "substring":
        return False, False
    if boundary == "word":
        return True, True
    return is_word_character(folded[0]), is_word_character(folded[-1])


def reads_as(text: str, term: Term) -> bool:
    """Whether `text`, of the term's length, is the term in leet."""
    if text == term.folded or not differs_by_leet(text, term.folded):
        return False
    return sum(a == b and a.isalpha() for a, b in zip(text, term.folded, strict=True)) >= _LEAST_UNCHANGED


def as_spelled(text: str, letters: str, spelled: SpelledTerm) -> Term | None:
    """Return the term with the bounds that it has where `text`, whose letters these are, spells it; None: it does not.

    Ends that are ASCII letters or digits must stand free.
    """
    term, written, _ = spelled
    if text == term.folded or not (letters == written or differs_by_leet(letters, written)):
        return None
    return term._replace(left=is_word_character(written[0]), right=is_word_character(written[-1]))


def stands_free(text: str, start: int, end: int, term: Term, *, is_end: bool) -> bool:
    if term.left and is_word_at(text, start - 1):
        return False
    return not term.right or (not is_word_at(text, end) if end < len(text) else is_end)


def is_word_at(text: str, index: int) -> bool:
    return 0 <= index < len(text) and is_word_character(text[index])
