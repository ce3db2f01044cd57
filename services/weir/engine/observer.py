"""What an engine tells about itself."""

from dataclasses import dataclass
from typing import Protocol

from weir.engine.runner import Stage


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A moment's state. `last_progress` is on the monotonic clock; `kv_used_ratio` is 0..1."""

    queued: int
    running: int
    slots: int
    kv_used_ratio: float
    prompt_tokens_total: int
    generated_tokens_total: int
    tokens_per_second: float
    last_progress: float


class EngineObserver(Protocol):
    """Called from the engine's thread, once per run and once per request; it must not block."""

    def stepped(self, stage: Stage, *, read: int, generated: int, seconds: float) -> None:
        """One run of the graph read `read` tokens and gave `generated` new ones (none: a prompt's inner chunk)."""
        ...

    def ended(self, outcome: str, *, prompt_tokens: int, generated_tokens: int) -> None:
        """`outcome` is a finish reason's value, `cancelled` or `error`."""
        ...


class SilentObserver:
    """Hears and says nothing."""

    def stepped(self, stage: Stage, *, read: int, generated: int, seconds: float) -> None: ...
    def ended(self, outcome: str, *, prompt_tokens: int, generated_tokens: int) -> None: ...
