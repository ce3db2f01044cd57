"""The values of labels that come from closed sets; a test compares them with what processes really show."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# By metric, without `weir_gateway_`; each has one label.
GATEWAY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "stream_aborted_total": ("client", "upstream", "drain"),
        "finish_total": ("eos_token", "stop_sequence", "length", "content_filter"),
        "admission_refused_total": ("key", "system", "hopeless", "timeout", "deadline"),
        "wasted_tokens_total": ("client", "drain", "deadline", "guard", "error"),
        "idempotent_attempts_total": ("waited", "replayed", "refused"),
        "cache_requests_total": ("hit", "joined", "miss"),
        "guard_errors_total": ("choice", "input", "output", "second-tier"),
        "guard_reloads_total": ("applied", "unchanged", "refused"),
        "guard_second_tier_total": ("scored", "timeout", "overloaded", "unavailable", "error", "cancelled"),
        "auth_total": ("key", "anyone", "missing", "malformed", "unknown", "expired", "away", "unchecked"),
        "limited_total": ("requests", "tokens", "budget"),
        "refused_early_total": (
            "malformed_request",
            "misdirected_request",
            "headers_too_large",
            "headers_too_slow",
            "body_too_slow",
            "response_unread",
        ),
        "config_reloads_total": ("applied", "refused"),
        "discoveries_total": ("same", "changed", "failed"),
    }
)
# Of `weir_gateway_upstream_errors_total`, beside the pool.
UPSTREAM_REASONS: Final = ("timeout", "connect", "overload", "protocol")
# Of `weir_gateway_routed_total`, beside the pool.
ROUTED_WHY: Final = ("fastest", "prefix", "standby")
