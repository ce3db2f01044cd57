"""How much the nodes can take, learned from how soon they begin to answer, and how fast they go on."""

from math import inf

_FIRST_LIMIT = 16.0
_FLOOR = 16.0  # late first tokens alone never push it lower: a batch of a few wastes what a node can do
_BACK_OFF = 0.9
_SMOOTHING = 0.1
_NOISE_S = 0.01
_MEMORY = 0.97  # what one request's speed weighs, one request later


class Capacity:
    """A limit on concurrency that grows while nodes keep up with it.

    A node that queues what it is given begins to answer late: later than twice its time when calm plus half of the
    time that an answer takes. Then the limit shrinks by a tenth, once per round; while first tokens are prompt and
    somebody waits it grows, doubling per round until the first such sign, by one per round after. A node that refuses
    sets the limit to what runs.
    """

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._limit = min(_FIRST_LIMIT, self._most)
        self._is_probing = True
        self._settling = 0  # first tokens still to come of requests that started before the last change
        self._calm_s = inf
        self._wait_s = 0.0
        self._answer_s: float | None = None
        self._tokens = self._seconds = 0.0

    @property
    def limit(self) -> int:
        return max(int(self._limit), 1)

    @property
    def tokens_per_s(self) -> float | None:
        """What all nodes do together at the limit; none until an answer has ended."""
        return self._tokens / self._seconds * self.limit if self._seconds and self._tokens else None

    def began(self, wait_s: float, *, running: int, is_pressed: bool) -> None:
        """Learn from a node's first token, `wait_s` after it was asked."""
        self._settling -= 1
        self._wait_s += _SMOOTHING * (wait_s - self._wait_s)
        if wait_s < self._calm_s:
            self._calm_s = wait_s
        elif running < self._limit / 2:  # prompts may have become longer
            self._calm_s += _SMOOTHING * (wait_s - self._calm_s)
        if self._is_late():
            self._shrink(running)
        elif is_pressed:
            self._limit = min(self._limit + (1.0 if self._is_probing else 1.0 / self._limit), self._most)

    def ended(self, wait_s: float, seconds: float, tokens: int) -> None:
        """Learn from an answer that took a node `seconds`, its first token `wait_s` of them, for `tokens` in all."""
        self._tokens = self._tokens * _MEMORY + tokens
        self._seconds = self._seconds * _MEMORY + seconds
        answer_s = seconds - wait_s
        self._answer_s = (
            answer_s if self._answer_s is None else self._answer_s + _SMOOTHING * (answer_s - self._answer_s)
        )

    def refused(self, *, running: int) -> None:
        """Learn from a node that is full while `running` others run."""
        self._is_probing = False
        self._limit = min(self._limit, max(running, 1.0))
        self._settling = running

    def probe(self, *, running: int) -> None:
        """Allow one more than what runs: the nodes may have room again."""
        self._limit = min(max(self._limit, running + 1.0), self._most)

    def _is_late(self) -> bool:
        if self._answer_s is None:
            return False
        return self._wait_s > 2 * self._calm_s + 0.5 * self._answer_s + _NOISE_S

    def _shrink(self, running: int) -> None:
        self._is_probing = False
        if self._settling <= 0:
            self._limit = max(self._limit * _BACK_OFF, min(self._limit, _FLOOR))
            self._settling = running
