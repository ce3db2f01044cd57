"""One request on its way through the service."""

from dataclasses import dataclass, field
from time import monotonic

from weir.contracts.request import GenerateRequest
from weir.gateway.catalog import ServedModel
from weir.gateway.streams import Started


@dataclass(frozen=True, slots=True)
class Ask:
    """What a surface wants. `route` labels metrics; `truncate_tokens` keeps only so many last tokens of the prompt."""

    request: GenerateRequest
    route: str
    truncate_tokens: int | None = None


@dataclass(slots=True)
class Generation:
    """What is known of one request so far; times are `time.monotonic()`."""

    ask: Ask
    model: ServedModel
    prompt_tokens: int = 0
    max_new_tokens: int = 0
    pool: str = "none"
    blocked_by: str | None = None
    generated_tokens: int = 0
    status: int = 499  # what it stays when the caller goes away
    began: float = field(default_factory=monotonic)
    prepared: float = 0.0
    queue_s: float = 0.0
    first_text: float = 0.0
    last_text: float = 0.0
    stream: Started | None = None

    @property
    def events(self) -> Started:
        if self.stream is None:
            raise RuntimeError("this generation was never started")
        return self.stream
