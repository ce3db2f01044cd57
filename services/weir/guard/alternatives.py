"""Keeps tokens that could have stood in a place from saying what a rule would not have let pass there."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from weir.contracts.events import PromptToken, Token
from weir.guard.fold import fold
from weir.guard.matcher import Matcher
from weir.guard.policy import Action

AnyToken = TypeVar("AnyToken", bound=Token | PromptToken)


class AlternativeScreen:
    """Goes through one text's tokens in order; holds one answer's (or one prompt's) state.

    An alternative is removed when it would complete a find behind the text before it: the whole term in one token, or
    the last piece of it. Rules that only flag remove nothing.
    """

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._before = ""  # folded
        self._is_cut = False  # the first character of it is context only

    def screened(self, tokens: Sequence[AnyToken]) -> tuple[AnyToken, ...]:
        """Return the next tokens of the text, their alternatives screened."""
        return tuple(map(self._next, tokens))

    def _next(self, token: AnyToken) -> AnyToken:
        kept = tuple(other for other in token.top if not self._completes_a_find(other.text))
        if not (isinstance(token, Token) and token.special):
            before = self._before + fold(token.text)
            self._before = before[-(self._matcher.longest + 1) :]
            self._is_cut = self._is_cut or len(self._before) < len(before)
        return token if len(kept) == len(token.top) else replace(token, top=kept)

    def _completes_a_find(self, text: str) -> bool:
        whole = self._before + fold(text)
        begin = 1 if self._is_cut else 0
        spans = self._matcher.spans(whole, begin, len(whole), is_end=True).spans
        return any(span.end > len(self._before) and self._matcher.action(span) is not Action.FLAG for span in spans)
