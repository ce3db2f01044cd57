"""Shows a person what a policy does with one text: where finds lie, what is sent, what a stream holds back and when."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from weir.guard.input import InputFilter, effect
from weir.guard.output import OutputGuard
from weir.guard.rules import STRENGTH, Action, Find

_AROUND = 30  # characters shown on either side of a find
_LONGEST_SHOWN = 80  # characters of a find
_VISIBLE = {"\n": "↵", "\r": "␍", "\t": "⇥"}


class Step(NamedTuple):
    """One piece of an answer fed to a stream: what it sent then, and how much it holds since."""

    fed: str
    sent: str
    held: int


def input_lines(check: InputFilter, text: str) -> Iterator[str]:
    """Say what becomes of `text` as a prompt."""
    checked = check.check(text)
    action, rules = checked.verdict.action, checked.verdict.rules
    yield f"prompt: {action}" + (f" ({', '.join(rules)})" if rules else "")
    for find in _sorted(checked.finds):
        rule = check.rules[find.order]
        yield from caret_lines(text, find, f"{rule.id}: {effect(find, rule)}")
    if action is Action.FALLBACK:
        yield f"  is answered with: {shown(next(r.replacement for r in check.rules if r.id == rules[0]))}"
    elif action is not Action.BLOCK and checked.text != text:
        yield f"  goes on as: {shown(checked.text)}"


def output_lines(guard: OutputGuard, text: str) -> Iterator[str]:
    """Say what becomes of `text` as an answer, and how it streams."""
    whole, rules = guard.whole(text), guard.matcher.rules
    action = max((rules[find.order].action for find in whole.finds), key=STRENGTH.__getitem__, default=Action.ALLOW)
    yield f"answer: {action}"
    for find in _sorted(guard.matcher.scan(text)):
        rule = rules[find.order]
        yield from caret_lines(text, find, f"{rule.id}: {rule.action}")
    if whole.text != text:
        yield f"  is sent as: {shown(whole.text)}"
    yield "as a stream, token by token:"
    yield from step_lines(*streamed(guard, text))


def caret_lines(text: str, find: Find, label: str) -> Iterator[str]:
    """Yield the find's surroundings, a line of carets below it, and what `label` says of it."""
    start, end = find.start, min(find.end, find.start + _LONGEST_SHOWN)
    before, found, after = text[max(start - _AROUND, 0) : start], text[start:end], text[end : end + _AROUND]
    lead = "…" if start > _AROUND else ""
    tail = "…" if end + len(after) < len(text) else ""
    yield f"  {lead}{shown(before)}{shown(found)}{shown(after)}{tail}"
    yield "  " + " " * columns(lead + shown(before)) + "^" * max(columns(shown(found)), 1)
    yield f"  {label}, seen in the {find.view} view, characters {find.start} to {find.end}"


def shown(text: str) -> str:
    """Return `text` on one line, invisible characters made visible."""
    return "".join(_VISIBLE.get(character) or ("·" if _is_invisible(character) else character) for character in text)


def columns(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    return sum(_columns(character) for character in text)


def streamed(guard: OutputGuard, text: str) -> tuple[list[Step], str | None]:
    """Feed `text` token by token; return the steps and the rule that cut the stream, if one did."""
    stream = guard.stream()
    steps = []
    for token in token_like(text):
        sent = "".join(piece.text for piece in stream.feed(token))
        steps.append(Step(token, sent, stream.held_chars))
        if cut := stream.blocked_by or stream.fallback_by:
            return steps, cut
    steps.append(Step("", "".join(piece.text for piece in stream.flush()), 0))
    return steps, stream.blocked_by or stream.fallback_by


def token_like(text: str) -> Iterator[str]:
    """Cut `text` about as a tokenizer does: words with the space before them, three digits, single other characters."""
    start = 0
    while start < len(text):
        end = start + 1
        kind = _kind(text[start])
        if kind == " " and end < len(text) and _kind(text[end]) == "a":
            kind, end = "a", end + 1
        limit = {"a": 8, "0": 3}.get(kind, 1)
        while end < len(text) and end - start < limit and _kind(text[end]) == kind:
            end += 1
        yield text[start:end]
        start = end


def step_lines(steps: Sequence[Step], cut_by: str | None) -> Iterator[str]:
    """Yield a line per step, those in which text only passes through left out."""
    width = max((columns(shown(step.fed)) for step in steps), default=0)
    passed = 0
    for step in steps:
        if step.fed == step.sent and not step.held:
            passed += 1
            continue
        if passed:
            yield f"  … {passed} passed through at once"
            passed = 0
        fed = shown(step.fed).replace(" ", "␣") if step.fed else "(end)"
        yield f"  {fed}{' ' * max(width - columns(fed), 0)}  held {step.held:>3}  sent {shown(step.sent)!r}"
    if passed:
        yield f"  … {passed} passed through at once"
    if cut_by is not None:
        yield f"  the stream ends here: {cut_by}"


def _sorted(finds: Iterable[Find]) -> list[Find]:
    return sorted(finds, key=lambda find: (find.start, find.end, find.order))


def _kind(character: str) -> str:
    if character == " ":
        return " "
    if character.isdigit():
        return "0"
    return "a" if character.isalpha() and unicodedata.east_asian_width(character) not in "WF" else character


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Mn", "Me", "Zl", "Zp"}


def _columns(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
