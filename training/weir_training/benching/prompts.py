"""Prompts of a wanted length, as text and as token ids: servers are given the one, engines the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

from weir.contracts.errors import UsageError
from weir.release.tokenizer import ReleaseTokenizer
from weir_training.benching.word_tokenizer import FIRST_WORD_ID


@dataclass(frozen=True, slots=True)
class Prompt:
    """`ids` is exactly what the model's tokenizer makes of `text`."""

    text: str
    ids: tuple[int, ...]


class PromptMaker(Protocol):
    def make(self, seed: int, tokens: int, *, after: str = "") -> Prompt:
        """Return a prompt of about `tokens` tokens beyond those of `after`, which it begins with; the seed fixes it."""
        ...


class WordPrompts:
    """For random weights: any words of the synthetic vocabulary; lengths are exact."""

    def __init__(self, tokenizer: ReleaseTokenizer) -> None:
        self._tokenizer = tokenizer

    def make(self, seed: int, tokens: int, *, after: str = "") -> Prompt:
        dice = Random(seed)  # noqa: S311  nothing secret
        ids = [dice.randrange(FIRST_WORD_ID, self._tokenizer.vocab_size) for _ in range(tokens)]
        return _prompt(self._tokenizer, after + self._tokenizer.decode(ids))


class TaskPrompts:
    """For a release: what it is asked, its golden prompts, one after another and cut; lengths are near."""

    def __init__(self, tokenizer: ReleaseTokenizer, texts: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._texts = [tokenizer.encode(text) for text in texts]
        if not any(self._texts):
            raise UsageError("the release's golden prompts hold no token")

    def make(self, seed: int, tokens: int, *, after: str = "") -> Prompt:
        dice = Random(seed)  # noqa: S311  nothing secret
        ids: list[int] = []
        while len(ids) < tokens:
            ids += dice.choice(self._texts)
        return _prompt(self._tokenizer, after + self._tokenizer.decode(ids[:tokens], skip_special=False))


def _prompt(tokenizer: ReleaseTokenizer, text: str) -> Prompt:
    return Prompt(text, tuple(tokenizer.encode(text)))


def tokenizer_of(checkpoint: Path) -> ReleaseTokenizer:
    return ReleaseTokenizer(checkpoint / "tokenizer.json")
