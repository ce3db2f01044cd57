"""What is learned of the nodes of one kind: how long a first token takes, and each one after it."""

from typing import Final

from weir.routing.policy.grid import SIZES, Grid

_FIRST_S: Final = 0.001  # of a prompt of one token; doubled prompts take half as long again, until seen
_STEP_S: Final = 0.02
_LEARNING: Final = 0.05
_ANSWER_TOKENS: Final = 128  # an answer without a bound, until some were seen
_MOST_FACTOR: Final = 3.0
_CROWD: Final = 0.03
_SETTLES: Final = 8  # answers between two looks at what is usual


class Profile:
    """Times on a node of this kind that is not slower than its fellows.

    Attributes:
        first: by prompt and load, seconds to the first token of a request that does not queue.
        step: by answer and load, seconds per token after it.
        serial: how much of the reading of prompts that are before one it has to wait for.
        turn: what a wait for a slot really takes of what it was predicted to.
        prompt_tokens, answer_tokens: what is usual.
        crowd_s: the price of joining one more request, a share of an answer's time: each slows all others a little.
    """

    __slots__ = (
        "_first_row",
        "_step_row",
        "_until_settled",
        "answer_tokens",
        "crowd_s",
        "first",
        "prompt_tokens",
        "serial",
        "step",
        "turn",
    )

    def __init__(self) -> None:
        self.first = Grid(_FIRST_S, by_size=1.5, by_level=1.1)
        self.step = Grid(_STEP_S, by_size=1.0, by_level=1.1)
        self.serial = self.turn = 1.0
        self.prompt_tokens = self.answer_tokens = float(_ANSWER_TOKENS)
        self._first_row = self._step_row = _ANSWER_TOKENS.bit_length()
        self._until_settled = _SETTLES
        self.crowd_s = _CROWD * _STEP_S * _ANSWER_TOKENS

    def usual_first(self, level: int) -> float:
        """Return the seconds to a first token that are usual at a load."""
        return self.first.rows[self._first_row][level]

    def usual_step(self, level: int) -> float:
        """Return the seconds per token that are usual at a load."""
        return self.step.rows[self._step_row][level]

    def learn_sizes(self, prompt_tokens: int, answer_tokens: int) -> None:
        """Note what is usual."""
        self.prompt_tokens += _LEARNING * (prompt_tokens - self.prompt_tokens)
        self.answer_tokens += _LEARNING * (answer_tokens - self.answer_tokens)
        self._until_settled -= 1
        if not self._until_settled:
            self._until_settled = _SETTLES
            self._first_row = int(self.prompt_tokens).bit_length()
            self._step_row = int(self.answer_tokens).bit_length()
            self.crowd_s = _CROWD * self.usual_step(1) * self.answer_tokens

    def learn_serial(self, waited_s: float, before_s: float) -> None:
        """Learn from a wait for prompts whose reading was predicted to take `before_s`."""
        self.serial += _LEARNING * (min(max(waited_s / before_s, 0.0), _MOST_FACTOR) - self.serial)

    def learn_turn(self, waited_s: float, predicted_s: float) -> None:
        factor = min(max(waited_s * self.turn / predicted_s, 0.1), _MOST_FACTOR)
        self.turn += _LEARNING * (factor - self.turn)


class Lengths:
    """How long a model's answers are, by the most that was asked for."""

    __slots__ = ("_expected", "_means")

    def __init__(self) -> None:
        self._means: list[float] = [min(2.0**size * 0.75, _ANSWER_TOKENS) for size in range(SIZES)]
        self._expected = [max(1, int(mean)) for mean in self._means]

    def expected(self, most_tokens: int) -> int:
        tokens = self._expected[most_tokens.bit_length()]
        return tokens if tokens < most_tokens else most_tokens

    def observe(self, most_tokens: int, tokens: int) -> None:
        size = most_tokens.bit_length()
        mean = self._means[size] = self._means[size] + _LEARNING * (tokens - self._means[size])
        self._expected[size] = int(mean) or 1
