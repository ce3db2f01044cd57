"""Vectors of texts: the same keys, limits, guard and accounts as a generation has, around another kind of model."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from weir.contracts.errors import PromptBlockedError, UnknownModelError, ValidationError, WeirError
from weir.contracts.request import GenerateRequest, Message
from weir.gateway.accounting import Accounts
from weir.gateway.answering import cleared
from weir.gateway.catalog import NOBODYS_NAMES
from weir.gateway.deadlines import in_time
from weir.gateway.denials import ModelNotAllowedError
from weir.gateway.embedder_releases import EmbeddingModel, read_embedders
from weir.gateway.filtering import PromptFilter
from weir.gateway.generation import Accounted, Ask, RequestContext
from weir.gateway.guards import Guards
from weir.gateway.refusals import ContextTooLongError, DrainingError, KeyBusyError, SaturatedError
from weir.gateway.second_tier import SecondTier
from weir.gateway.settings_embedder import EmbedderSettings
from weir.routing.embedders import POOL, EmbedderNodes
from weir.telemetry.metrics import GatewayMetrics

MAX_TEXTS: Final = 2048  # as at OpenAI
MAX_TOKENS: Final = 300_000  # of one request, as at OpenAI
_ROWS_PER_CALL: Final = 32
_TOKENS_PER_CALL: Final = 65_536  # half a megabyte: nodes take a whole one
_INLINE_CHARS: Final = 16_384  # more is filtered and tokenised in a thread

Text = str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Vectors:
    """`rows`: the base64 text of each vector's float32 numbers, the lowest byte first."""

    model: EmbeddingModel
    rows: tuple[str, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `dimensions`: how long vectors must be; none: as the model makes them."""

    context: RequestContext
    route: str
    model: str | None
    texts: tuple[Text, ...]
    dimensions: int | None = None


@dataclass(slots=True)
class Embeddings:
    """All embedders of a gateway. Requests wait at nodes, not here: they are short, and bounded by number."""

    models: dict[str, EmbeddingModel]
    nodes: EmbedderNodes
    accounts: Accounts
    guards: Guards
    metrics: GatewayMetrics
    second_tier: SecondTier | None = None
    _running: Counter[str] = field(default_factory=Counter)  # by model
    _of_key: Counter[str] = field(default_factory=Counter)

    def find(self, name: str | None) -> EmbeddingModel | None:
        """Return the embedder called `name`; no name, or one that clients make up, is the first one."""
        return (
            next(iter(self.models.values()), None) if name is None or name in NOBODYS_NAMES else self.models.get(name)
        )

    async def embed(self, asked: Asked) -> Vectors:
        """Return a vector for each text.

        Raises:
            WeirError: there are none; it was counted.
        """
        generation, model = self._begun(asked)
        self.accounts.begin(generation)
        try:
            rows = await self._prepared(generation, model, asked)
            await self.accounts.reserve(generation)
            if self.second_tier is not None:
                self.second_tier.begin(generation)
            vectors = await self._asked(generation, model, rows)
            if generation.screening is not None:
                await cleared(generation.screening, asked.context.deadline)
        except Exception as error:
            self.accounts.failed(generation, error)
            raise
        else:
            generation.status = 200
            self.metrics.embedded_texts.inc(len(rows))
            return vectors
        finally:
            self.accounts.end(generation)

    async def start(self) -> None:
        """Watch the nodes; returns once each was asked how it is."""
        await self.hold(self.models)

    def read_again(self, settings: Sequence[EmbedderSettings]) -> dict[str, EmbeddingModel]:
        """Read releases anew; `hold` makes them hold.

        Raises:
            ReleaseError: one is refused.
        """
        return read_embedders(settings, self.nodes)

    async def hold(self, models: dict[str, EmbeddingModel]) -> None:
        """Serve these from now on. Requests under way keep their model and its nodes."""
        await self.nodes.hold([model.embedders for model in models.values()])
        self.models = models

    async def aclose(self) -> None:
        await self.nodes.aclose()

    def _begun(self, asked: Asked) -> tuple[Accounted, EmbeddingModel]:
        try:
            model = self.find(asked.model)
            if model is None:
                raise UnknownModelError("this gateway does not serve the model that was asked for")
            if not asked.context.caller.may_use(model.name):
                raise ModelNotAllowedError
            guard = self.guards.chosen(asked.route, asked.context.caller)
        except WeirError as error:
            self.metrics.incoming("other").inc()
            self.metrics.requests(asked.route, "other", "none", str(error.status.value)).inc()
            raise
        self.metrics.incoming(model.name).inc()
        messages = tuple(Message(role="user", content=_text(model, text)) for text in asked.texts)
        request = GenerateRequest.trusted(id=asked.context.id, messages=messages)
        ask = Ask(request, asked.route, asked.context)
        return Accounted(ask, model, guard), model

    async def _prepared(self, generation: Accounted, model: EmbeddingModel, asked: Asked) -> list[Sequence[int]]:
        if self.accounts.is_draining:
            raise DrainingError
        if asked.dimensions not in {None, model.dimensions}:
            words = f"`dimensions`: this model makes vectors of {model.dimensions} numbers, and no shorter ones"
            raise ValidationError(words, "dimensions")
        chars = sum(len(message.content) for message in generation.ask.request.messages)
        if chars > _INLINE_CHARS:
            return await asyncio.to_thread(self._rows, generation, model, asked)
        return self._rows(generation, model, asked)

    def _rows(self, generation: Accounted, model: EmbeddingModel, asked: Asked) -> list[Sequence[int]]:
        """Return the token ids of each text as the input rules leave it."""
        request = self._filtered(generation)
        rows: list[Sequence[int]] = []
        for text, old, new in zip(asked.texts, generation.ask.request.messages, request.messages, strict=True):
            is_same = new is old or new.content == old.content
            rows.append(text if is_same and not isinstance(text, str) else model.tokenizer.encode_whole(new.content))
            if not 1 <= len(rows[-1]) <= model.context_tokens:
                raise ContextTooLongError(model.context_tokens, len(rows[-1]), None)
        generation.prompt_tokens, generation.is_counted = sum(map(len, rows)), True
        if generation.prompt_tokens > MAX_TOKENS:
            raise ValidationError(f"`input`: at most {MAX_TOKENS} tokens in one request", "input")
        return rows

    def _filtered(self, generation: Accounted) -> GenerateRequest:
        prompt = PromptFilter(generation.guard, self.guards.seal, generation.notes)
        try:
            request = prompt.passed(generation.ask.request, self.metrics)
        finally:
            generation.verdicts += prompt.found
        if prompt.fallback is not None:  # a rule would answer in the model's place: there is no such vector
            raise PromptBlockedError(prompt.found[0])
        generation.filtered = request
        return request

    async def _asked(self, generation: Accounted, model: EmbeddingModel, rows: Sequence[Sequence[int]]) -> Vectors:
        """Ask nodes, some rows at a time: others get their turn, and who hangs up costs no more than that."""
        key, most = generation.ask.context.caller.key_id, generation.ask.context.caller.max_concurrency
        if most is not None and self._of_key[key] >= most:
            raise KeyBusyError(1.0)
        if self._running[model.name] >= model.max_in_flight:
            raise SaturatedError(1.0)
        self._of_key[key] += 1
        self._running[model.name] += 1
        generation.prepared, generation.pool = monotonic(), POOL
        found: list[str] = []
        try:
            for part in _parts(rows):
                work = model.embedders.embedded(part, timeout_s=model.timeout_s)
                found += (await in_time(work, generation.ask.context.deadline)).rows
        finally:
            self._running[model.name] -= 1
            self._of_key[key] -= 1
            if not self._of_key[key]:
                del self._of_key[key]
        return Vectors(model, tuple(found), generation.prompt_tokens)


def _parts(rows: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """Cut rows into as many as a node is asked for at once."""
    begin = tokens = 0
    for end, row in enumerate(rows):
        if end - begin == _ROWS_PER_CALL or (end > begin and tokens + len(row) > _TOKENS_PER_CALL):
            yield rows[begin:end]
            begin, tokens = end, 0
        tokens += len(row)
    yield rows[begin:]


def _text(model: EmbeddingModel, text: Text) -> str:
    """Return what the input rules read.

    Raises:
        ValidationError: a token is not in the vocabulary.
    """
    if isinstance(text, str):
        return text
    if max(text) >= model.vocab_size:
        raise ValidationError(f"`input`: a token id beyond the vocabulary of {model.vocab_size}", "input")
    return model.tokenizer.decode(list(text), skip_special=False)
