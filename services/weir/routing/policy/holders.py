"""Which nodes have read the beginning of a prompt lately, and so may have it in memory still."""

from collections.abc import Iterable
from typing import Final

from weir.routing.policy.job import Beginning
from weir.routing.policy.member import Member

_MOST_KEYS: Final = 32_768  # twice so many are remembered, the older half is forgotten at once
_MOST_HOLDERS: Final = 4


class Holders:
    """A bounded memory from beginnings to nodes."""

    def __init__(self) -> None:
        self._young: dict[int, list[Member]] = {}
        self._old: dict[int, list[Member]] = {}

    def of(self, key: int) -> list[Member]:
        found = self._young.get(key)
        return (self._old.get(key) or []) if found is None else found

    def note(self, beginnings: Iterable[Beginning], member: Member) -> None:
        for key, _ in beginnings:
            holders = self._young.get(key)
            if holders is None:
                holders = self._begun(key)
            if member in holders:
                continue
            if len(holders) == _MOST_HOLDERS:
                del holders[0]
            holders.append(member)

    def _begun(self, key: int) -> list[Member]:
        if len(self._young) >= _MOST_KEYS:
            self._old, self._young = self._young, {}
        holders = self._young[key] = self._old.get(key, [])
        return holders
