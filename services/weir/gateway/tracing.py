"""Spans of the gateway: one per HTTP request, one per generation in it. Only entered where tracing is on."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from weir.asgi.types import Receive, Scope, Send
from weir.contracts.trace import HEADER, read_traceparent
from weir.gateway.generation import Accounted
from weir.telemetry.gen_ai import FIRST_TOKEN, answered, asked, operation
from weir.telemetry.tracing import Span, Tracing, is_sampled, unsampled

_CLIENT_GONE: Final = "client_gone"
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


async def traced(tracing: Tracing, route: str, handler: Handler, scope: Scope, receive: Receive, send: Send) -> None:
    """Handle a request within a span, whose traceparent takes the place of the caller's among the headers."""
    others = [header for header in scope["headers"] if header[0] != HEADER]
    caller = next((value for name, value in scope["headers"] if name == HEADER), None)
    parent = read_traceparent(caller)
    attributes = {"http.request.method": scope["method"], "http.route": route, "url.scheme": scope["scheme"]}
    span = tracing.span(f"{scope['method']} {route}", "server", parent, attributes=attributes)
    ours = unsampled(parent) if span is None else span.traceparent
    scope = {**scope, "headers": [*others, (HEADER, ours.encode())]}
    if span is None:
        await handler(scope, receive, send)
        return
    watched = _Watched(send)
    try:
        await handler(scope, receive, watched)
    finally:
        _end(span, watched.status)


def _end(span: Span, status: int) -> None:
    if status:
        span.set({"http.response.status_code": status})
    if not status or status >= 500:
        span.fail(str(status) if status else _CLIENT_GONE)
    span.end()


class _Watched:
    """Sends, and remembers the status."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


def begun(tracing: Tracing, generation: Accounted) -> Span | None:
    """Begin the span of a generation, as a child of its HTTP request's; none: that one is not sampled."""
    ask = generation.ask
    if ask.context.traceparent is None or not is_sampled(ask.context.traceparent):
        return None
    action = operation(ask.request)
    return tracing.child(
        f"{action} {generation.model.name}",
        "internal",
        ask.context.traceparent,
        began=generation.began,
        attributes={**asked(ask.request, generation.model.name, action), "http.route": ask.route},
    )


def ended(span: Span, generation: Accounted) -> None:
    """Say what came of a generation, and end its span."""
    if generation.first_text:
        span.note(FIRST_TOKEN, generation.first_text)
    adapter, model = generation.ask.request.adapter, generation.model
    reason = None if generation.reason is None else generation.reason.value
    span.set(
        {
            **answered(model.name, model.version, generation.prompt_tokens, generation.generated_tokens, reason),
            "weir.status": generation.status,
            "weir.pool": generation.pool,
            "weir.cached": generation.is_cached,
            "weir.guard.rules": sorted(set(generation.verdicts)),
        }
    )
    if adapter in model.adapters:
        span.set({"weir.adapter": adapter})
    if generation.blocked_by is not None:
        span.set({"weir.guard.blocked_by": generation.blocked_by})
    if generation.status == 499:
        span.fail(_CLIENT_GONE)
    span.end(generation.ended)
