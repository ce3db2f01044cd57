"""From token ids to text, one token at a time."""

from collections.abc import Collection
from typing import Protocol

_REPLACEMENT = "\ufffd"
_MAX_OPEN = 3  # an unfinished UTF-8 character is at most three bytes, and a byte-fallback token is one byte
_WINDOW = 16


class Decoder(Protocol):
    """What is needed of a tokenizer (`weir.release.tokenizer.ReleaseTokenizer` has it)."""

    @property
    def special_ids(self) -> Collection[int]: ...
    def decode(self, ids: list[int], *, skip_special: bool = True) -> str: ...


class Detokenizer:
    """Joined, the pieces are what decoding all ids at once gives; no piece ends inside a character.

    Only a window of the last tokens is decoded: its first tokens give the context that decoders need (a leading
    space belongs to all words but the first). Special tokens never enter the window, so they cannot be that context.

    Byte-fallback decoders turn a whole run of byte tokens into replacement characters when its last character is cut
    off; as the characters before it have been shown by then, such a text ends in one replacement character here.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._window: list[int] = []
        self._sent = ""  # the part of the window's text that was returned
        self._border = 0  # tokens of the window after which its text was last complete

    def add(self, token_id: int) -> str:
        """Return what the token adds to the text: "" for a special one or within a character."""
        if token_id in self._decoder.special_ids:
            return ""
        self._window.append(token_id)
        text = self._decoder.decode(self._window)
        whole = _without_open_end(text)
        if not whole.startswith(self._sent):
            return ""
        piece = whole[len(self._sent) :]
        self._sent = whole
        if len(whole) == len(text):
            self._slide()
        return piece

    def flush(self) -> str:
        """Return what an unfinished character leaves; once, at the end."""
        text = self._decoder.decode(self._window) if self._window else ""
        rest = text[len(self._sent) :] if text.startswith(self._sent) else _REPLACEMENT
        self._window, self._sent = [], ""
        return rest

    def _slide(self) -> None:
        """Forget the window's tokens before the last border; called on a border.

        What is left must show something: ids that decode to nothing are no context for the next word.
        """
        if len(self._window) >= _WINDOW and self._border:
            tail = self._window[self._border :]
            if text := self._decoder.decode(tail):
                self._window, self._sent = tail, text
        self._border = len(self._window)


def _without_open_end(text: str) -> str:
    """Cut the replacement characters that the next tokens may still turn into one character."""
    open_end = 0
    while open_end < min(_MAX_OPEN, len(text)) and text[-1 - open_end] == _REPLACEMENT:
        open_end += 1
    return text[: len(text) - open_end]
