"""What became of one request so far, on its way to a node that begins to answer it."""

from collections.abc import Iterable
from time import monotonic
from typing import Final

from weir.contracts.errors import (
    BackendUnavailableError,
    DeadlineExceededError,
    NodeUnreachableError,
    OverloadedError,
    WeirError,
)
from weir.routing.policy.member import Member

_MOST_TAKEN: Final = 3  # nodes that took it and failed: it may be the request that breaks them


class Attempts:
    """Attempts at nodes until one begins to answer.

    `patience_s`: how long a request may wait for a node, since it failed first or since any node was well.

    Attributes:
        tried: names of nodes that failed it.
        unfit: those of them that would only fail it again; one that went away may come back.
        failure: the last one.
    """

    def __init__(self, deadline: float | None, patience_s: float) -> None:
        self.deadline = deadline
        self.tried: set[str] = set()
        self.unfit: set[str] = set()
        self.failure: WeirError | None = None
        self._refusals: dict[str, OverloadedError] = {}
        self._patience_s = patience_s
        self._failed_at: float | None = None
        self._taken = 0

    def failed(self, node: str, error: WeirError) -> None:
        """Note how a node failed it before its first event."""
        self.failure = error
        self.tried.add(node)
        if self._failed_at is None:
            self._failed_at = monotonic()
        if isinstance(error, OverloadedError):
            self._refusals[node] = error
        if not isinstance(error, BackendUnavailableError):
            self.unfit.add(node)
        if not isinstance(error, NodeUnreachableError):
            self._taken += 1

    @property
    def has_moved(self) -> bool:
        """Whether it only has to go elsewhere as its node is gone: whoever moves adds no load."""
        return isinstance(self.failure, BackendUnavailableError)

    @property
    def are_over(self) -> bool:
        """Whether enough nodes have had it."""
        return self._taken >= _MOST_TAKEN

    def refusal(self, members: Iterable[Member]) -> OverloadedError | None:
        """Return what a node said that is well, and full."""
        said = self._refusals
        return next((said[member.name] for member in members if member.is_open and member.name in said), None)

    def may_wait(self, members: Iterable[Member]) -> bool:
        """Whether a node that may take it was well so lately that it is worth waiting for."""
        well_at = max((member.well_at for member in members if member.name not in self.unfit), default=float("-inf"))
        since = well_at if self._failed_at is None else min(well_at, self._failed_at)
        return monotonic() < since + self._patience_s

    def check(self, seconds: float = 0.0) -> None:
        """Raise DeadlineExceededError when the request has less time than that."""
        if self.deadline is not None and monotonic() + seconds >= self.deadline:
            raise DeadlineExceededError

    def given_up(self, why: str) -> WeirError:
        """Return the error that the caller gets."""
        if self.failure is None:
            return BackendUnavailableError(f"no node is ready: {why}")
        if self.has_moved:
            return BackendUnavailableError(f"{self.failure}, and no other node could take the request: {why}")
        return self.failure
