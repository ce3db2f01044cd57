"""What is told to whoever keeps accounts: quotas, budgets, usage, audit."""

from hmac import HMAC
from typing import Protocol

from weir.gateway.generation import Accounted


class Ledger(Protocol):
    """Is asked before a request is queued, and told when it has ended."""

    async def reserve(self, generation: Accounted) -> None:
        """Set the tokens of its prompt and of its longest answer aside.

        Raises:
            OverloadedError: a rate limit, quota or budget of the caller is used up.
            BackendUnavailableError: that cannot be found out now.
        """
        ...

    def hasher(self) -> HMAC | None:
        """Return a fresh HMAC for an answer's text; none: nobody keeps it."""
        ...

    def settle(self, generation: Accounted) -> None:
        """Replace what was set aside by what was used; it must not wait for anything.

        Called once for every request, also for one that was refused.
        """
        ...


class NoLedger:
    """Keeps no accounts."""

    async def reserve(self, generation: Accounted) -> None: ...

    def hasher(self) -> HMAC | None:
        return None

    def settle(self, generation: Accounted) -> None: ...
