"""Tracing as the rest of Weir sees it: what a span is, how it is set up. OpenTelemetry itself is only behind `otel`.

Nothing here or there takes a text of a caller's: names, counts, times, ids and enums only.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from weir.contracts.errors import UsageError

Attributes = Mapping[str, str | int | float | bool | Sequence[str]]
Kind = Literal["server", "client", "internal"]


class TracingSettings(BaseModel):
    """Off unless it is given: then spans go to an OTLP collector over HTTP. Needs the extra `otel`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str = Field(
        pattern=r"^https?://[^\s]+$", description="a collector, e.g. http://127.0.0.1:4318; without a path: /v1/traces"
    )
    headers: dict[str, SecretStr] = Field(default={}, repr=False, description="for the collector, e.g. authorization")
    sample_ratio: float = Field(default=0.05, ge=0, le=1, description="share of the traces that begin here")
    follow_callers: bool = Field(
        default=True, description="a caller's traceparent says whether it is sampled; false: the ratio does"
    )
    resource: dict[str, str] = Field(default={}, description="more of what every span says of this process")
    timeout_s: float = Field(
        default=10.0, gt=0, le=60, description="for one export; spans are dropped, never waited for"
    )

    @property
    def url(self) -> str:
        has_path = urlsplit(self.endpoint).path not in {"", "/"}
        return self.endpoint if has_path else self.endpoint.rstrip("/") + "/v1/traces"


class Span(Protocol):
    """A piece of work that is sampled; `end` it once. Times are `time.monotonic()`."""

    @property
    def traceparent(self) -> str:
        """What to hand on, so that work elsewhere becomes a child of this."""
        ...

    @property
    def log_fields(self) -> Mapping[str, str]:
        """`trace_id`."""
        ...

    def set(self, attributes: Attributes) -> None: ...

    def note(self, name: str, at: float | None = None, attributes: Attributes | None = None) -> None:
        """Add an event."""
        ...

    def part(self, name: str, began: float, ended: float, attributes: Attributes | None = None) -> None:
        """Add a child that has ended already; it may outlive this span."""
        ...

    def fail(self, error_type: str) -> None:
        """Mark it as failed; `error_type` is an error's code or a status, never its words."""
        ...

    def end(self, at: float | None = None) -> None: ...


class Tracing(Protocol):
    """Makes spans."""

    def span(self, name: str, kind: Kind, parent: str | None, *, attributes: Attributes | None = None) -> Span | None:
        """Begin what others asked this process for, if it is to be sampled.

        `parent` is their traceparent (none: a trace begins here).
        """
        ...

    def child(
        self,
        name: str,
        kind: Kind,
        parent: str,
        *,
        began: float | None = None,
        attributes: Attributes | None = None,
    ) -> Span:
        """Begin a part of a span of this process, which is sampled."""
        ...

    def close(self) -> None:
        """Send what is left, for two seconds at most. Blocks."""
        ...


def unsampled(parent: str | None) -> str:
    """Return the traceparent of work that leaves no span: it tells who comes next that it should leave none either."""
    if parent is not None:
        return parent[:-1] + "0"
    return f"00-{random.getrandbits(128) or 1:032x}-{random.getrandbits(64) or 1:016x}-00"


def is_sampled(traceparent: str) -> bool:
    return traceparent[-1] == "1"


def open_tracing(settings: TracingSettings | None, service: str, version: str) -> Tracing | None:
    """Return what makes spans; none when nobody wants them, and then nothing of OpenTelemetry is imported.

    Call it in the process that serves: a thread sends the spans.

    Raises:
        UsageError: the extra `otel` is not installed.
    """
    if settings is None:
        return None
    try:
        from weir.telemetry.otel import OtelTracing  # here: a quarter of a second, and few want it
    except ModuleNotFoundError as error:
        raise UsageError(f"tracing needs {error.name}: pip install 'weir[otel]'") from None
    return OtelTracing(settings, service, version)
