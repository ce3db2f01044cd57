"""Versions of packages that are installed, beside what the project asks for."""

import pytest

from weir.supervisor.checks.packages import fits


@pytest.mark.parametrize(
    ("found", "bounds", "is_so"),
    [
        ("3.14.5", ">=3.13", True),
        ("3.9", ">=3.13", False),
        ("1.31", ">=1.31.0", True),
        ("2.0.0rc1", ">=1.9,<2", False),
        ("1.9.1", ">=1.9,<2", True),
        ("2.13.0+cpu", ">=2.13", True),
        ("1.1.20251105", ">=1.1.20251105", True),
        ("4.0", "", True),
    ],
)
def test_versions_are_compared_by_their_numbers(found: str, bounds: str, is_so: bool) -> None:
    assert fits(found, bounds) is is_so
