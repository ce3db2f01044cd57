"""The guard that holds for a request: chosen once, by route and key, and kept to its end."""

import logging
from typing import Final

from weir.contracts.caller import Caller
from weir.contracts.errors import PromptBlockedError
from weir.gateway.findings import Seal
from weir.guard.compiled import Chosen, CompiledGuard
from weir.guard.verdict import GUARD_ERROR
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)
_SHA_DIGITS: Final = 12


class Guards:
    """The policy in force. `seal` makes the audit's HMAC of a text; none: there is no audit."""

    def __init__(self, compiled: CompiledGuard, metrics: GatewayMetrics, seal: Seal | None = None) -> None:
        self._metrics = metrics
        self.seal = seal
        self.compiled = compiled
        self._tell(1)

    def hold_to(self, compiled: CompiledGuard) -> None:
        """From now on another policy decides. Requests under way keep what they began with."""
        self._tell(0)
        self.compiled = compiled
        self._tell(1)

    def chosen(self, route: str, caller: Caller) -> Chosen:
        """Return what a caller is held to on a route.

        Raises:
            PromptBlockedError: that cannot be found out.
        """
        try:
            return self.compiled.chosen(route, caller.key_id, caller.name)
        except Exception:  # noqa: BLE001 - whatever it is, nothing is asked unguarded
            _log.exception("guard_not_chosen")
            self._metrics.guard_errors("choice").inc()
            raise PromptBlockedError(GUARD_ERROR) from None

    def _tell(self, count: int) -> None:
        policy = self.compiled.policy
        self._metrics.guard_policy(policy.id, str(policy.version), policy.sha256[:_SHA_DIGITS]).set(count)
