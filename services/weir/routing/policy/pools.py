"""Which nodes may answer side by side."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from weir.routing.policy.member import Kind

PROVEN = "proven"


@dataclass(eq=False, slots=True)
class Pool:
    """Kinds of nodes that are taken for equal. `name` is `proven`, or label and flavour of what is alone in it."""

    name: str
    kinds: list[Kind] = field(default_factory=list)


def arranged(kinds: Collection[Kind], proven: Collection[str]) -> Sequence[Pool]:
    """Put kinds into pools, the one that is used first; the next ones stand by while any node of it is open.

    Flavours that the release's parity report proves make one pool, which comes first. Any other flavour is a pool of
    its own for each label, in the order in which the nodes were listed: so is one that a node does not name.
    """
    pools: dict[str, Pool] = {}
    for kind in sorted(kinds, key=lambda kind: min(member.number for member in kind.members)):
        key = kind.key
        name = PROVEN if key.flavour in proven else f"{key.label}/{key.flavour or 'unknown'}"
        pool = pools.setdefault(name, Pool(name))
        pool.kinds.append(kind)
        kind.pool = pool
    return sorted(pools.values(), key=lambda pool: pool.name != PROVEN)
