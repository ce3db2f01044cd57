"""Keeps tokens that could have stood in a place from saying what a rule would not have let pass there."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from weir.contracts.events import PromptToken, Token
from weir.guard.matcher import Matcher
from weir.guard.output import StreamGuard
from weir.guard.rules import Action, Find

AnyToken = TypeVar("AnyToken", bound=Token | PromptToken)


class AlternativeScreen:
    """Goes through one text's tokens in order; holds one answer's (or one prompt's) state.

    An alternative is removed when it would complete a find behind the text before it: the whole term in one token, or
    the last piece of it, or more of one that goes on. Rules that only flag remove nothing.
    """

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._stream = StreamGuard(matcher, may_end=False)

    def screened(self, tokens: Sequence[AnyToken]) -> tuple[AnyToken, ...]:
        """Return the next tokens of the text, their alternatives screened."""
        return tuple(map(self._next, tokens))

    def _next(self, token: AnyToken) -> AnyToken:
        kept = tuple(other for other in token.top if not self._is_found(other.text))
        if not (isinstance(token, Token) and token.special):
            self._stream.feed(token.text)
        return token if len(kept) == len(token.top) else replace(token, top=kept)

    def _is_found(self, text: str) -> bool:
        """Whether a rule would touch `text` in the next place."""
        before, reached = self._stream.num_seen, self._stream.num_seen - self._stream.held_chars
        finds: list[Find] = []
        fork = self._stream.fork(lambda find, _: finds.append(find))
        pieces = [*fork.feed(text), *fork.flush()]
        if any(find.end > before and self._matcher.action(find) is not Action.FLAG for find in finds):
            return True
        for piece in pieces:
            reached += piece.length
            if reached > before and not piece.is_verbatim:
                return True
        return False
