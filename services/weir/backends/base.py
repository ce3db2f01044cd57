"""The one seam between routing and inference."""

from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from weir.contracts.events import GenerationEvent
from weir.contracts.request import GenerateRequest


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node says of itself; none: it does not say.

    Attributes:
        version: of the release that answered last, or would answer now.
        flavour: of its graph; empty: the one that the release serves unless told otherwise.
        slots: requests that it answers together.
        present: requests that it has, whoever sent them.
        others: the flavours of further models that it was asked about; those that are not in it, it does not serve.
        versions: of further models, as `version`.
        serves_first: whether it serves the model that it is asked for unless another one is named.
    """

    version: int | None = None
    flavour: str | None = None
    slots: int | None = None
    present: int | None = None
    others: Mapping[str, str | None] | None = None
    versions: Mapping[str, int] = field(default_factory=dict)
    serves_first: bool = True

    def answered_by(self, model: str, version: int) -> "NodeReport":
        """Return what it says once a version of a further model has answered."""
        if self.versions.get(model) == version:
            return self
        return replace(self, versions={**self.versions, model: version})


class Answer(Protocol):
    """The events of one answer, to be iterated once and closed. An asynchronous generator is one."""

    def __aiter__(self) -> AsyncIterator[GenerationEvent]: ...

    def __anext__(self) -> Awaitable[GenerationEvent]: ...

    def aclose(self) -> Awaitable[None]: ...


class Backend(Protocol):
    """A place that turns a rendered request into events."""

    @property
    def name(self) -> str:
        """Stable label for logs and metrics, e.g. `cpu-0`."""
        ...

    @property
    def report(self) -> NodeReport:
        """What the node said last, to `ready` or with an answer."""
        ...

    def generate(self, request: GenerateRequest, *, timeout_s: float) -> Answer:
        """Yield zero or more `TokenChunk`s, then exactly one `Finished`.

        `request.prompt` is the full prompt and `request.sampling.max_new_tokens` is set. Closing the answer
        early cancels the work on the node within 200 ms.

        Raises:
            OverloadedError: the node's queue is full.
            BackendTimeoutError: no event arrived within `timeout_s` seconds.
            BackendUnavailableError: the node cannot be reached, or went away mid-stream.
            BackendError: the node answered with something that is not the protocol.
        """
        ...

    async def ready(self) -> bool:
        """Whether the node would accept a request now, for any model; `report` says for which.

        Raises:
            BackendTimeoutError: it does not say.
        """
        ...

    async def load(self, model: str, version: int) -> None:
        """Make the node serve this version; the old one goes on serving if that fails."""
        ...

    async def aclose(self) -> None: ...


class ManagedNode(Protocol):
    """A node whose models can be changed while it serves.

    Every method returns once the change holds, and raises a `WeirError` that names the node when it does not; then
    what was served before goes on.
    """

    @property
    def name(self) -> str: ...

    async def serving(self, model: str) -> int | None:
        """Return the version of `model` that is served now; none: it is not served."""
        ...

    async def load(self, model: str, version: int) -> None: ...

    async def unload(self, model: str) -> None:
        """Stop serving `model`; answers that are under way are finished."""
        ...

    async def add_adapter(self, model: str, adapter: str) -> None:
        """Serve an adapter that was published for the release that serves `model`."""
        ...

    async def remove_adapter(self, model: str, adapter: str) -> None:
        """Serve it to no further request."""
        ...

    async def aclose(self) -> None: ...
