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


def arranged(kinds: Collection[Kind], proven: Collection[str], model: str | None = None) -> Sequence[Pool]:
    """Put kinds into pools, the one that is used first; the next ones stand by while any node of it is open.

    Flavours that the release's parity report proves make one pool, which comes first. Any other flavour is a pool of
    its own for each label, in the order in which the nodes were listed: so is one that a node does not name.
    `model`: one beside the default one. Nodes that do not serve the model are in no pool.
    """
    pools: dict[str, Pool] = {}
    for kind in sorted(kinds, key=lambda kind: min(member.number for member in kind.members)):
        key = kind.key
        flavour = key.flavour if model is None else key.flavour_of(model)
        if flavour is not None:
            name = PROVEN if flavour in proven else f"{key.label}/{flavour or 'unknown'}"
            pools.setdefault(name, Pool(name)).kinds.append(kind)
    return sorted(pools.values(), key=lambda pool: pool.name != PROVEN)
