"""Which of several answers is the best one (`best_of`)."""

from collections.abc import Sequence

from weir.contracts.events import FinishReason, Token
from weir.gateway.streams import Collected


def best_first(answers: Sequence[Collected]) -> list[int]:
    """Return the answers' numbers, the one with the best mean log-probability first; filtered ones come last.

    What a rule put in the place of other text has no log-probability, and does not count.
    """

    def merit(number: int) -> tuple[bool, float]:
        answer = answers[number]
        known = [token.logprob for token in answer.tokens if not is_replacement(token)]
        mean = sum(known) / len(known) if known else float("-inf")
        return answer.finished.reason is not FinishReason.FILTERED, mean

    return sorted(range(len(answers)), key=merit, reverse=True)


def is_replacement(token: Token) -> bool:
    """Whether it stands for what a rule replaced (see `weir.guard.tokens`)."""
    return token.id == 0 and token.logprob == 0.0
