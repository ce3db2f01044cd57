"""The guard that holds for a request: chosen once, by route and key, and kept to its end."""

from typing import Final

from weir.contracts.caller import Caller
from weir.gateway.findings import Seal
from weir.guard.compiled import Chosen, CompiledGuard
from weir.telemetry.metrics import GatewayMetrics

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
        return self.compiled.chosen(route, caller.key_id, caller.name)

    def _tell(self, count: int) -> None:
        policy = self.compiled.policy
        self._metrics.guard_policy(policy.id, str(policy.version), policy.sha256[:_SHA_DIGITS]).set(count)
