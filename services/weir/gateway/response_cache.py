"""Whole guarded answers to requests that can only have one answer, kept for whoever of the same tenant asks again."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic

from weir.contracts.events import Finished, GenerationEvent, PromptToken, Token, TokenChunk
from weir.contracts.request import GenerateRequest
from weir.gateway.generation import Generation
from weir.gateway.streams import Events
from weir.telemetry.metrics import GatewayMetrics

_LONGEST_S = 3600.0  # a policy or a node's flavour may change under a release's name
_LARGEST_SHARE = 0.125  # of the cache, for one answer
_ENTRY_BYTES = 1_000  # key, events and their links, measured with tracemalloc
_TOKEN_BYTES = 250


@dataclass(slots=True)
class _Entry:
    events: tuple[GenerationEvent, ...]
    size_bytes: int
    made: float


@dataclass(slots=True)
class _Recording:
    """What an answer says while it is being given."""

    texts: list[str] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    prompt: list[PromptToken] = field(default_factory=list)
    token_count: int = 0

    def add(self, chunk: TokenChunk) -> None:
        self.texts.append(chunk.text)
        self.tokens += chunk.tokens
        self.prompt += chunk.prompt
        self.token_count += chunk.token_count

    def events(self, finished: Finished) -> tuple[GenerationEvent, ...]:
        chunk = TokenChunk("".join(self.texts), self.token_count, tuple(self.tokens), tuple(self.prompt))
        return (chunk, finished) if chunk.text or chunk.tokens or chunk.prompt else (finished,)


class ResponseCache:
    """Least recently used answers, `size_bytes` of them at most (0: none), for an hour.

    Only what the guard let through is kept, and found again only by those whom the same policy lets have it.
    """

    def __init__(self, size_bytes: int, metrics: GatewayMetrics, clock: Callable[[], float] = monotonic) -> None:
        self._size_bytes = size_bytes
        self._metrics = metrics
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._used_bytes = 0

    @property
    def is_on(self) -> bool:
        return self._size_bytes > 0

    def found(self, key: bytes) -> tuple[GenerationEvent, ...] | None:
        entry = self._entries.get(key)
        if entry is not None and self._clock() - entry.made > _LONGEST_S:
            self._drop(key)
            entry = None
        if entry is not None:
            self._entries.move_to_end(key)
            self.count("hit")
        return None if entry is None else entry.events

    def count(self, result: str) -> None:
        """Count a request that the cache could answer: `hit`, `joined` or `miss`."""
        self._metrics.cache_requests(result).inc()

    def keep(self, key: bytes, events: tuple[GenerationEvent, ...]) -> None:
        """Remember an answer; the oldest ones make room."""
        size_bytes = sum(_size(event) for event in events) + _ENTRY_BYTES
        if size_bytes > self._size_bytes * _LARGEST_SHARE:
            return
        if key in self._entries:
            self._drop(key)
        while self._used_bytes + size_bytes > self._size_bytes:
            self._drop(next(iter(self._entries)))
        self._entries[key] = _Entry(events, size_bytes, self._clock())
        self._used_bytes += size_bytes
        self._show()

    def key(self, generation: Generation, request: GenerateRequest) -> bytes | None:
        """Return what names the answer; none when there may be several, or when nothing is kept."""
        sampling = request.sampling
        has_seed = sampling.seed is not None and not generation.ask.is_seed_drawn
        if not self.is_on or not (sampling.is_greedy or has_seed):
            return None
        parts = (
            generation.model.name,
            str(generation.model.version),
            generation.model.release_sha256,
            generation.model.adapter_stamp(request.adapter),
            generation.ask.context.caller.tenant,
            *_held_to(generation),
            request.model_dump_json(include={"adapter", "return_tokens", "sampling", "prompt"}),
        )
        return sha256("\x00".join(parts).encode()).digest()

    def _show(self) -> None:
        self._metrics.cache_bytes.set(self._used_bytes)
        self._metrics.cache_entries.set(len(self._entries))

    def _drop(self, key: bytes) -> None:
        self._used_bytes -= self._entries.pop(key).size_bytes
        self._show()


def _held_to(generation: Generation) -> tuple[str, ...]:
    """What decided about the answer. Rules about whole answers may hold on some routes only."""
    guard = generation.guard
    return guard.policy_sha256, guard.profile, generation.ask.route if guard.answers else ""


async def replayed(events: tuple[GenerationEvent, ...]) -> Events:
    """Yield a kept answer."""
    for event in events:
        yield event


async def recorded(events: Events, keep: Callable[[tuple[GenerationEvent, ...]], None]) -> Events:
    """Yield `events`, and hand them over once they have come to their end."""
    recording = _Recording()
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Finished):
                keep(recording.events(event))
            else:
                recording.add(event)
            yield event


def _size(event: GenerationEvent) -> int:
    if isinstance(event, Finished):
        return 0
    tokens = sum(1 + len(token.top) for token in event.tokens) + sum(1 + len(token.top) for token in event.prompt)
    return len(event.text.encode()) + _TOKEN_BYTES * tokens
