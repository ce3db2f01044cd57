"""Speed of a batch while all of it decodes: from the moment that everyone has a token until the first has enough."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Window:
    """Told of every token of `users` answers; over after `steps` tokens per user, or when the first answer ends.

    It opens when everybody was heard of twice: whoever reads a stream may be late for its first tokens, and what then
    comes at once was not made at once.
    """

    users: int
    steps: int
    heard: dict[int, int] = field(default_factory=dict)
    began: float | None = None
    ended: float = 0.0
    tokens: int = 0
    is_over: bool = False

    def add(self, user: int, count: int, now: float) -> None:
        """Count tokens that became known at `now` (seconds)."""
        if self.is_over:
            return
        self.heard[user] = self.heard.get(user, 0) + 1
        if self.began is not None:
            self.tokens += count
            self.ended = now
        self.is_over = self.began is not None and self.tokens >= self.users * self.steps

    def close_step(self, now: float) -> None:
        """Say that a step's tokens were all added; a window opens between steps."""
        if self.began is None and len(self.heard) == self.users and min(self.heard.values()) > 1:
            self.began = now

    def figures(self) -> dict[str, float]:
        """Raises RuntimeError where nothing was seen: answers so short that not all decoded at once."""
        if self.began is None or self.tokens == 0:
            raise RuntimeError("not all answers decoded at once; the context is too short for this")
        return {"tokens": self.tokens, "seconds": self.ended - self.began}
