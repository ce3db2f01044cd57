"""What an engine tells about itself."""

from dataclasses import dataclass
from typing import Protocol

from weir.telemetry.step_report import StepReport


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A moment's state.

    Attributes:
        slots: most sequences that run together.
        kv_used_ratio: the share of blocks that running sequences hold, 0..1.
        kv_used_bytes: what those blocks take of `kv_budget_bytes`.
        cached_blocks: blocks that nobody holds, kept for prompts that begin alike.
        last_progress: on the monotonic clock.
    """

    queued: int
    running: int
    slots: int
    kv_used_ratio: float
    kv_used_bytes: int
    kv_budget_bytes: int
    cached_blocks: int
    prompt_tokens_total: int
    generated_tokens_total: int
    tokens_per_second: float
    last_progress: float


class EngineObserver(Protocol):
    """Called from the engine's thread, once per step and once per request; it must not block."""

    def stepped(self, report: StepReport) -> None: ...

    def ended(self, outcome: str, *, prompt_tokens: int, generated_tokens: int) -> None:
        """`outcome` is a finish reason's value, `cancelled`, `expired` or `error`."""
        ...


class SilentObserver:
    """Hears and says nothing."""

    def stepped(self, report: StepReport) -> None: ...
    def ended(self, outcome: str, *, prompt_tokens: int, generated_tokens: int) -> None: ...
