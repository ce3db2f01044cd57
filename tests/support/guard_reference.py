"""What a guard makes of a whole text, straight from what its rules mean: slow, simple, and none of the guard's code.

Only the fold of a single character is the guard's own. Regexes are Python's, given for each form by hand.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from weir.guard.fold import is_foreign_word, plain, spellings
from weir.guard.rules import STRENGTH, Action, Rule

WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
LEET = {"0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i", "|": "il"}


@dataclass(frozen=True)
class Form:
    """One way in which a regex matches: `certain`, then, for as long as it goes on, `run`; or up to `until`."""

    certain: str
    run: str = ""
    until: str = ""
    is_validated: bool = True


@dataclass(frozen=True)
class Known:
    """A rule, what its regexes mean, and texts that it is about."""

    rule: Rule
    forms: tuple[Form, ...] = ()
    validate: Callable[[str], bool] | None = None
    samples: tuple[str, ...] = ()


@dataclass
class Whole:
    """The text that is left, who ended it, and the original positions that must not leave."""

    text: str = ""
    ended_by: str | None = None
    found: set[str] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)


def whole(text: str, known: Sequence[Known], allow: Sequence[str] = ()) -> Whole:
    view, origins = "", []
    for index, character in enumerate(text):
        view += plain(character)
        origins += [index] * len(plain(character))
    allowed = {plain(entry).lower() for entry in allow}
    finds = []
    for order, one in enumerate(known):
        terms = [
            (start, end)
            for start, end, is_latin in _terms(view.lower(), one.rule)
            if not (is_latin and is_foreign_word(text[origins[start] : origins[end - 1] + 1]))
        ]
        for start, end in {*terms, *_regexes(view, one, allowed)}:
            if not (view[start:end].lower() in allowed and not one.rule.is_secret):
                finds.append((origins[start], -STRENGTH[one.rule.action], order, origins[end - 1] + 1))
    return _render(text, sorted(finds), known)


def _render(text: str, finds: Sequence[tuple[int, int, int, int]], known: Sequence[Known]) -> Whole:
    out, sent, covered = Whole(), 0, -1
    for start, _, order, end in finds:
        rule = known[order].rule
        out.found.add(rule.id)
        if rule.action is Action.FLAG:
            continue
        out.text += text[sent:start] if start > sent else ""
        sent = max(sent, start)
        if rule.action in {Action.BLOCK, Action.FALLBACK}:
            out.ended_by = rule.id
            out.text += rule.replacement if rule.action is Action.FALLBACK else ""
            out.hidden |= set(range(start, len(text)))
            return out
        out.text += rule.replacement if start >= covered else ""
        out.hidden |= set(range(start, end))
        sent = covered = max(covered, end)
    out.text += text[sent:]
    return out


def _regexes(view: str, one: Known, allowed: set[str]) -> list[tuple[int, int]]:
    spans = []
    flags = re.ASCII | (0 if one.rule.keeps_case else re.IGNORECASE)
    for form in one.forms:
        at = 0
        while found := re.compile(form.certain, flags).search(view, at):
            start, end = found.span()
            at = start + 1
            if one.validate is not None and form.is_validated and not one.validate(found[0]):
                continue
            if form.until:
                last = re.compile(form.until, flags).search(view, end)
                end = last.end() if last else len(view)
            while form.run and end < len(view) and re.fullmatch(form.run, view[end], flags):
                end += 1
            spans.append((start, end))
            at = end
    return spans


def _terms(folded: str, rule: Rule) -> Iterator[tuple[int, int, bool]]:
    for written, term in sorted({(w, term) for w in rule.terms for term in spellings(w)}):
        for start in range(len(folded)):
            end = start + len(term)
            if folded[start:end] == term and _stands(folded, start, end, rule, term):
                yield start, end, written.isascii()
            if rule.is_squeezed:
                for found in _leet(folded, start, term) + _spelled(folded, start, term):
                    yield *found, False


def _stands(folded: str, start: int, end: int, rule: Rule, term: str) -> bool:
    left = {"auto": term[0] in WORD, "word": True, "substring": False}[rule.boundary]
    right = {"auto": term[-1] in WORD, "word": True, "substring": False}[rule.boundary]
    return _is_free(folded, start, end, left=left, right=right)


def _is_free(folded: str, start: int, end: int, *, left: bool, right: bool) -> bool:
    if left and start > 0 and folded[start - 1] in WORD:
        return False
    return not (right and end < len(folded) and folded[end] in WORD)


def _leet(folded: str, start: int, term: str) -> list[tuple[int, int]]:
    end = start + len(term)
    seen = folded[start:end]
    if not term.isascii() or sum(c.isalpha() for c in term) < 4 or len(seen) < len(term) or seen == term:
        return []
    if not all(a == b or b in LEET.get(a, "") for a, b in zip(seen, term, strict=True)):
        return []
    same = sum(a == b and a.isalpha() for a, b in zip(seen, term, strict=True))
    return [(start, end)] if same >= 2 and _is_free(folded, start, end, left=True, right=True) else []


def _spelled(folded: str, start: int, term: str) -> list[tuple[int, int]]:
    letters = [c for c in term if c.isalnum()]
    is_han = any("\u3041" <= c <= "\u9fff" for c in term)
    if len(letters) < (2 if is_han else 4):
        return []
    at, places = start, list[int]()
    for letter in letters:
        gap = 0
        while places and at < len(folded) and not folded[at].isalnum():
            at, gap = at + 1, gap + 1
        if at >= len(folded) or gap > 3 or (places and not is_han and gap == 0):
            return []
        if folded[at] != letter and not (folded[at].isdigit() and letter in LEET.get(folded[at], "")):
            return []
        places.append(at)
        at += 1
    end = places[-1] + 1
    if folded[start:end] == term:
        return []
    free = _is_free(folded, start, end, left=letters[0] in WORD, right=letters[-1] in WORD)
    return [(start, end)] if free else []
