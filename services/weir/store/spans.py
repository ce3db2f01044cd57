"""Spans of time as people type them."""

from typing import Final

from weir.contracts.errors import UsageError

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds_of(text: str, option: str) -> int:
    """Read `90d`, `12h`, `30m`, `45s` or `0`.

    Raises:
        UsageError: it is none of these; `option` is named.
    """
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS_S else (text, "s")
    if not (number.isdigit() and len(number) <= 6) or (unit == "s" and text == number and number != "0"):
        raise UsageError(f"{option} {text!r}: a number and s, m, h, d or w, e.g. 12h")
    return int(number) * _UNITS_S[unit]
