"""How much may be tried again: retries must not multiply the load of nodes that are failing under it."""

from typing import Final

_SHARE: Final = 0.1  # of requests
_MOST: Final = 100.0  # a node with this many requests may die at once
_AT_FIRST: Final = 10.0


class RetryBudget:
    """Every request pays in a tenth of a retry; every retry takes a whole one."""

    def __init__(self) -> None:
        self._balance = _AT_FIRST

    def earn(self) -> None:
        """Note a request, at its first attempt."""
        self._balance = min(self._balance + _SHARE, _MOST)

    def spend(self) -> bool:
        """Take one retry; false when there is none left."""
        if self._balance < 1:
            return False
        self._balance -= 1
        return True
