"""One request on its way through the service."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hmac import HMAC
from time import monotonic
from typing import Protocol

from weir.contracts.caller import ANYONE, Caller
from weir.contracts.events import FinishReason
from weir.contracts.request import GenerateRequest
from weir.gateway.catalog import ServedModel
from weir.gateway.findings import Note
from weir.gateway.streams import Started
from weir.guard.compiled import Chosen
from weir.store.limits import Taken
from weir.telemetry.tracing import Span

_MOST_PRIORITY = 10  # as in GenerateRequest
Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What an HTTP request says outside its body.

    Attributes:
        id: for logs, traces and the `x-request-id` header.
        caller: who asks.
        deadline: on `time.monotonic()`; work that cannot be of use any more never reaches a node.
        priority: what the caller asked for, none: the key's own; see `effective_priority`.
        idempotency_key: attempts with equal keys of one caller are one request.
        traceparent: of the span that this is a part of.
    """

    id: str
    caller: Caller = ANYONE
    deadline: float | None = None
    priority: int | None = None
    idempotency_key: str | None = None
    traceparent: str | None = None

    @property
    def effective_priority(self) -> int:
        """What counts: a request may go below its key's priority, never above."""
        own = self.caller.priority
        if own == 0 and self.priority is None:
            return 0
        return max(-_MOST_PRIORITY, min(own if self.priority is None else min(own, self.priority), _MOST_PRIORITY))


@dataclass(frozen=True, slots=True)
class Ask:
    """One generation that a surface wants.

    `route` labels metrics; `truncate_tokens` keeps only so many last tokens of the prompt; `is_raw`: a prompt is what
    the model reads, whatever the release says; `version`: only this one will do; `is_seed_drawn`: the seed is ours, so
    that who asks again may get another answer.
    """

    request: GenerateRequest
    route: str
    context: RequestContext
    truncate_tokens: int | None = None
    is_raw: bool = False
    version: int | None = None
    is_seed_drawn: bool = False


@dataclass(slots=True)
class Reservation:
    """Tokens set aside for one generation; `in_memory`: counted here because the shared store was away."""

    tokens: int
    taken: Taken | None = None
    in_memory: bool = False


class Screening(Protocol):
    """What a second look at the prompt comes to, while the request is on its way."""

    @property
    def is_settled(self) -> bool:
        """Nothing more will be noted of it."""
        ...

    async def cleared(self) -> None:
        """Return when the answer may be sent.

        Raises:
            PromptBlockedError: it may not.
        """
        ...


class CountedModel(Protocol):
    """What accounts, limits and audit read of a model, whatever it does."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def adapters(self) -> tuple[str, ...]: ...


@dataclass(slots=True)
class Accounted:
    """What is known of one request so far; times are `time.monotonic()`."""

    ask: Ask
    model: CountedModel
    guard: Chosen  # a policy that comes later changes nothing
    prompt: str = ""  # as the input rules left it
    filtered: GenerateRequest | None = None  # as the input rules left it, before the template
    screening: Screening | None = None  # none: nobody looks a second time
    fallback: str | None = None  # the answer that an input rule gives; no node is asked
    prompt_tokens: int = 0
    is_counted: bool = False  # `prompt_tokens` is exact; at the end it always is: the node says so
    max_new_tokens: int = 0
    pool: str = "none"
    served: Headers = ()  # which release, node and flavour answered
    blocked_by: str | None = None
    generated_tokens: int = 0
    sent_tokens: int = 0  # those of them that were given to the surface
    is_streamed: bool = False  # what the surface gets, the caller gets at once
    is_cached: bool = False
    is_late: bool = False  # its deadline passed
    reservation: Reservation | None = None  # at the ledger
    status: int = 499  # what it stays when the caller goes away
    began: float = field(default_factory=monotonic)
    prepared: float = 0.0
    queue_s: float = 0.0
    first_text: float = 0.0
    last_text: float = 0.0
    ended: float = 0.0
    reason: FinishReason | None = None
    is_drained: bool = False  # it ended while no new ones were taken
    verdicts: list[str] = field(default_factory=list)  # ids of rules that matched, in prompt or answer
    notes: list[Note] = field(default_factory=list)  # of what they found, for the audit
    answer_hash: HMAC | None = None  # of the text that was sent; none: nobody keeps it
    stream: Started | None = None
    span: Span | None = None  # none: nothing is traced

    @property
    def traceparent(self) -> str | None:
        """What a node is handed: our own span, or else what the caller sent."""
        return self.ask.context.traceparent if self.span is None else self.span.traceparent

    @property
    def model_label(self) -> str:
        """The model as a caller would ask for it, adapter included."""
        adapter = self.ask.request.adapter
        return self.model.name if adapter is None else f"{self.model.name}:{adapter}"

    @property
    def events(self) -> Started:
        if self.stream is None:
            raise RuntimeError("this generation was never started")
        return self.stream


@dataclass(slots=True)
class Generation(Accounted):
    """A request to a model that generates text."""

    model: ServedModel
