"""Keeps token objects in step with guarded text, so that nothing redacted leaves inside a token."""

from collections import deque
from collections.abc import Iterable, Sequence

from weir.contracts.events import Token
from weir.guard.output import Piece


class TokenAligner:
    """Turns decided pieces of one answer back into tokens.

    A token is given out unchanged once all of its text was released verbatim. Tokens that a replacement touches
    become one token with id 0 and log-probability 0 that says what was released in their place. The texts of all
    tokens given out add up to the released text.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Token, int]] = deque()  # a token and where its text ends in the original answer
        self._seen = 0
        self._decided = 0
        self._text = ""  # released, but its token is not complete yet
        self._is_changed = False

    def take(self, tokens: Sequence[Token], text: str) -> None:
        """Note the tokens of the next stretch of the answer. Special tokens take up no visible text."""
        if sum(len(token.text) for token in tokens if not token.special) != len(text):
            tokens = (Token(0, text, 0.0),)  # the node's tokens do not spell its text: trust the text
        for token in tokens:
            self._seen += 0 if token.special else len(token.text)
            self._waiting.append((token, self._seen))

    def give(self, pieces: Iterable[Piece]) -> list[Token]:
        """Return the tokens that `pieces` complete."""
        out: list[Token] = []
        self._give_out_empty(out)
        for piece in pieces:
            if piece.is_verbatim:
                self._advance_verbatim(piece.text, out)
            else:
                self._advance_replaced(piece, out)
        return out

    def rest(self) -> list[Token]:
        """Return what was released of a token that will never be complete: the answer was cut inside it."""
        out: list[Token] = []
        self._is_changed = True
        self._close_group(None, out)
        return out

    def _advance_verbatim(self, text: str, out: list[Token]) -> None:
        position, target = 0, self._decided + len(text)
        while self._waiting and self._waiting[0][1] <= target:
            token, end = self._waiting.popleft()
            step = end - self._decided
            self._text += text[position : position + step]
            position += step
            self._decided = end
            self._close_group(token, out)
        self._text += text[position:]
        self._decided = target

    def _advance_replaced(self, piece: Piece, out: list[Token]) -> None:
        self._text += piece.text
        self._is_changed = True
        self._decided += piece.length
        touched = None
        while self._waiting and self._waiting[0][1] <= self._decided:
            touched = self._waiting.popleft()
        if touched is not None and touched[1] == self._decided:
            self._close_group(touched[0], out)

    def _close_group(self, token: Token | None, out: list[Token]) -> None:
        if self._is_changed or token is None:
            if self._text:
                out.append(Token(0, self._text, 0.0))
        else:
            out.append(token)
        self._text, self._is_changed = "", False

    def _give_out_empty(self, out: list[Token]) -> None:
        while self._waiting and self._waiting[0][1] == self._decided and not self._text and not self._is_changed:
            out.append(self._waiting.popleft()[0])
