"""What the policy is told of one request."""

from collections.abc import Collection
from dataclasses import dataclass

Beginning = tuple[int, int]


@dataclass(slots=True)
class Job:
    """One request.

    Attributes:
        model: whose answers have their own usual lengths.
        prompt_tokens: as well as they are known; at most `MOST_TOKENS`, as is the next.
        most_tokens: the longest answer that is allowed.
        beginnings: of the prompt, longest first: a hash, and how many tokens stand behind it.
        without: names of nodes that it must not go to.
    """

    model: str
    prompt_tokens: int
    most_tokens: int
    beginnings: tuple[Beginning, ...] = ()
    without: Collection[str] = ()
