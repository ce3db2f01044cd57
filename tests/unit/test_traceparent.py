"""Which headers are a traceparent, and what is made of them."""

import pytest

from weir.contracts.trace import read_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-01"),
        (f"00-{TRACE}-{SPAN}-02", f"00-{TRACE}-{SPAN}-00"),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", f"00-{TRACE}-{SPAN}-01"),
        (f"00-{TRACE}-{SPAN}-01-what-the-future-brings", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        (f"00-{TRACE}-{SPAN}-01\r\nx: y", None),
        (f"00-{TRACE[:-1]}-{SPAN}-01", None),
        (f"cc-{TRACE}-{SPAN}-01-" + "x" * 600, None),
        ("", None),
    ],
)
def test_a_header_is_read_as_the_standard_has_it(given: str, read: str | None) -> None:
    assert read_traceparent(given.encode()) == read


def test_no_header_is_no_traceparent() -> None:
    assert read_traceparent(None) is None
