"""W3C trace context: the header `traceparent`. Its sister `tracestate` is not carried on: it may hold anything."""

import re
from typing import Final

HEADER: Final = b"traceparent"
_FORM: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MOST_BYTES: Final = 512  # later versions may be longer
TRACEPARENT: Final = r"^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$"


def read_traceparent(value: bytes | None) -> str | None:
    """Return it in version 0's form, with no flag but `sampled`; none when it is not one, as the standard has it."""
    found = None if value is None or len(value) > _MOST_BYTES else _FORM.fullmatch(value)
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    is_known = version != b"ff" and (version != b"00" or rest is None)
    if not is_known or not trace_id.strip(b"0") or not span_id.strip(b"0"):
        return None
    return f"00-{trace_id.decode()}-{span_id.decode()}-0{int(flags, 16) & 1}"
