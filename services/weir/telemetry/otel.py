"""Spans by OpenTelemetry's SDK, sent over OTLP/HTTP by a thread of its own. All else goes by `weir.telemetry.tracing`.

Everything that the SDK would read from the environment is given to it: settings are read once, in main.
"""

import logging
import random
import threading
from time import monotonic, time_ns
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan

from weir.telemetry.tracing import Attributes, Kind, TracingSettings, is_sampled

_log = logging.getLogger(__name__)
_KINDS: Final = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_MOST_WAITING: Final = 4096  # spans; more are dropped
_BATCH: Final = 512
_EVERY_MS: Final = 2000.0
_LAST_S: Final = 2.0
_ANYWHERE: Final = Context()  # the ambient one is never looked at


class OtelTracing:
    """One for a process that serves; `exporter` is for tests."""

    def __init__(
        self, settings: TracingSettings, service: str, version: str, exporter: SpanExporter | None = None
    ) -> None:
        exporter = exporter or OTLPSpanExporter(
            endpoint=settings.url,
            headers={name: value.get_secret_value() for name, value in settings.headers.items()},
            timeout=settings.timeout_s,
            compression=Compression.Gzip,
        )
        resource = {"service.name": service, "service.version": version, **settings.resource}
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # what is not sampled never comes so far
            resource=Resource(resource),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_span_attributes=64, max_events=64, max_links=1, max_attribute_length=256),
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=_MOST_WAITING,
                max_export_batch_size=_BATCH,
                schedule_delay_millis=_EVERY_MS,
                export_timeout_millis=settings.timeout_s * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("weir", version)
        self._ratio = settings.sample_ratio
        self._follows = settings.follow_callers

    def span(
        self, name: str, kind: Kind, parent: str | None, *, attributes: Attributes | None = None
    ) -> "OtelParts | None":
        if not self._wants(parent):
            return None
        around = _ANYWHERE if parent is None else _around(parent, is_remote=True)
        return self._begun(name, kind, around, None, attributes)

    def child(
        self,
        name: str,
        kind: Kind,
        parent: str,
        *,
        began: float | None = None,
        attributes: Attributes | None = None,
    ) -> "OtelParts":
        return self._begun(name, kind, _around(parent, is_remote=False), began, attributes)

    def _begun(
        self, name: str, kind: Kind, around: Context, began: float | None, attributes: Attributes | None
    ) -> "OtelParts":
        epoch_ns = time_ns() - round(monotonic() * 1e9)
        started = None if began is None else epoch_ns + round(began * 1e9)
        return OtelParts(
            self._tracer, self._tracer.start_span(name, around, _KINDS[kind], attributes, start_time=started), epoch_ns
        )

    def _wants(self, parent: str | None) -> bool:
        """Go by what was decided already, where that counts; else by the ratio, of a known trace by its id."""
        if parent is None:
            return random.random() < self._ratio  # noqa: S311  no secret
        if self._follows:
            return is_sampled(parent)
        return int(parent[19:35], 16) < self._ratio * 2**64

    def close(self) -> None:
        """A collector that is away must not hold up the end of a process: the thread that waits for it may die."""
        ending = threading.Thread(target=self._provider.shutdown, name="weir-tracing-end", daemon=True)
        ending.start()
        ending.join(_LAST_S)
        if ending.is_alive():
            _log.warning("spans_lost")


class OtelParts:
    """A span, and what belongs to it."""

    __slots__ = ("_epoch_ns", "_span", "_tracer")

    def __init__(self, tracer: Tracer, span: OtelSpan, epoch_ns: int) -> None:
        self._tracer = tracer
        self._span = span
        self._epoch_ns = epoch_ns  # of the monotonic clock's zero

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"

    @property
    def log_fields(self) -> dict[str, str]:
        return {"trace_id": f"{self._span.get_span_context().trace_id:032x}"}

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(dict(attributes))

    def note(self, name: str, at: float | None = None, attributes: Attributes | None = None) -> None:
        self._span.add_event(name, attributes, None if at is None else self._ns(at))

    def part(self, name: str, began: float, ended: float, attributes: Attributes | None = None) -> None:
        around = set_span_in_context(self._span, _ANYWHERE)
        child = self._tracer.start_span(name, around, attributes=attributes, start_time=self._ns(began))
        child.end(self._ns(ended))

    def fail(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self, at: float | None = None) -> None:
        self._span.end(None if at is None else self._ns(at))

    def _ns(self, at: float) -> int:
        return self._epoch_ns + round(at * 1e9)


def _around(traceparent: str, *, is_remote: bool) -> Context:
    _, trace_id, span_id, _ = traceparent.split("-")
    parent = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(parent), _ANYWHERE)
