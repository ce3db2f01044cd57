"""Who asks: what every part may know of a caller. Never the key itself."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of an API key, with what the key allows; none of the limits is set when it is None.

    Attributes:
        key_id: public id of the key, e.g. `k_3f9a…`; it may appear in logs and audit rows, never in a metric label.
        tenant: callers of one tenant share cached prefixes and cached answers; others never do.
        priority: higher goes first, at admission and in the engine.
        models: names of the models the key may use; none: all.
        max_concurrency: requests of this key that may be worked on at once.
        requests_per_min: counted when a request is taken.
        tokens_per_min: prompt tokens and generated ones.
        monthly_tokens: the same, per calendar month (UTC).
        name: what people call the key; a guard policy may go by it.
    """

    key_id: str
    tenant: str
    priority: int = 0
    models: frozenset[str] | None = None
    max_concurrency: int | None = None
    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    monthly_tokens: int | None = None
    name: str | None = None

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models


ANYONE: Final = Caller("anyone", "anyone")  # every caller of a gateway without keys
