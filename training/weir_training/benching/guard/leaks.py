"""Characters of a find that reach the client before it is found: the cases in which other guards were seen to leak."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple

from weir_training.benching.guard.patterns import JWT, KEY

_FILLER: Final = "好的，"  # nothing in it is in a secret
_PART: Final = "hQxT7wLpZ2vNcR8kYdJ3mBsG5fUaE9oK"


class Case(NamedTuple):
    """`secret` stands at token `at` of an answer, in tokens of `width` characters; found by `terms` or `patterns`."""

    name: str
    secret: str
    at: int
    width: int
    terms: tuple[str, ...]
    patterns: tuple[str, ...]

    def pieces(self) -> list[str]:
        """Return the answer, token by token."""
        secret = [self.secret[at : at + self.width] for at in range(0, len(self.secret), self.width)]
        return [_FILLER] * (self.at - 1) + [f"{_FILLER} ", *secret, " ", *[_FILLER] * 260]


def leaked(secret: str, released: str) -> int:
    """Return the length of the longest stretch of the secret that was released; blanks are no part of it."""
    secret, released = ("".join(text.split()) for text in (secret, released))
    return SequenceMatcher(None, secret, released, autojunk=False).find_longest_match().size


def _jwt() -> str:
    body = (_PART * 4)[:117]
    return f"eyJ{_PART[:17]}.{body}.{_PART[::-1][:22]}"


def cases() -> tuple[Case, ...]:
    """A JWT of 161 characters and a phrase of 89 (LiteLLM holds back 50), a key of 43 around the end of NeMo's 200."""
    jwt, key = _jwt(), "sk-" + (_PART + _PART[::-1])[:40]
    phrase = "quarterly forecast for the northern plant and its vendors was never meant to leave legal"
    phrase += "." * (89 - len(phrase))
    return (
        Case("JWT of 161 characters", jwt, 5, 4, (), (JWT,)),
        Case("phrase of 89 characters", phrase, 5, 4, (phrase,), ()),
        *(Case(f"key of 43 characters at token {at}", key, at, 4, (), (KEY,)) for at in (190, 195, 199)),
    )


def lengths(found: Sequence[Case]) -> list[int]:
    return [len(case.secret) for case in found]
