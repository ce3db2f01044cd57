"""What is told to whoever keeps accounts: quotas, budgets, usage, audit."""

from dataclasses import dataclass
from typing import Protocol

from weir.contracts.caller import Caller


@dataclass(frozen=True, slots=True)
class Spent:
    """What became of one generation. Never its text.

    Attributes:
        status: as in `weir_gateway_requests_total`; 499: the caller went away.
        prompt_tokens: 0 when no node was asked.
        generated_tokens: also those that the caller did not get.
        blocked_by: the guard rule that ended the answer, or kept the prompt from a node.
        is_cached: the answer came from the response cache; its tokens cost no work.
    """

    request_id: str
    caller: Caller
    route: str
    model: str
    version: int
    status: int
    prompt_tokens: int
    generated_tokens: int
    blocked_by: str | None
    is_cached: bool


class Ledger(Protocol):
    """Is asked before a request is queued, and told when it has ended."""

    async def reserve(self, caller: Caller, model: str, tokens: int) -> None:
        """Set `tokens` (prompt and longest answer) aside.

        Raises:
            OverloadedError: a rate limit, quota or budget of the caller is used up; a `KeyBusyError` is a 429.
        """
        ...

    def settle(self, spent: Spent, reserved_tokens: int) -> None:
        """Replace what was set aside by what was used; it must not wait for anything.

        Called once for every request, also for one that was refused (`reserved_tokens` is 0 then).
        """
        ...


class NoLedger:
    """Keeps no accounts."""

    async def reserve(self, caller: Caller, model: str, tokens: int) -> None: ...

    def settle(self, spent: Spent, reserved_tokens: int) -> None: ...
