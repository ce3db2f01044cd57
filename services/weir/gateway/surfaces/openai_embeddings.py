"""OpenAI's embeddings: `/v1/embeddings`. Models that generate text refuse."""

import asyncio
import base64
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import orjson
from pydantic import BaseModel, Field

from weir.contracts.errors import UnknownModelError, ValidationError, WeirError
from weir.gateway.embedding import MAX_TEXTS, Asked, Text, Vectors
from weir.gateway.generation import RequestContext
from weir.gateway.provenance import served_headers
from weir.gateway.refusals import ModelNotSupportedError
from weir.gateway.surfaces.base import JSON_HEADERS, Direct, Reply, Wire, decoded
from weir.gateway.surfaces.openai_errors import error_event, error_reply

if TYPE_CHECKING:
    from weir.gateway.service import GenerationService

_INLINE_NUMBERS = 16_384  # more are written in a thread
_LARGEST_ID = 2**31


class EmbeddingBody(Wire):
    """`input`: a text, token ids, or a list of either."""

    input: str | list[Any] = Field(max_length=1_048_576)
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(default=None, ge=1)
    user: str | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingSurface:
    path: str = "/v1/embeddings"

    @property
    def body_model(self) -> type[BaseModel]:
        return EmbeddingBody

    @property
    def summary(self) -> str:
        return "Vectors of texts (OpenAI); models that generate text refuse with `model_not_supported`"

    def parse(self, body: bytes, context: RequestContext) -> Direct:
        parsed = decoded(EmbeddingBody, body)
        asked = Asked(context, self.path, parsed.model, texts_of(parsed.input), parsed.dimensions)
        as_base64 = parsed.encoding_format == "base64"

        async def answer(service: "GenerationService") -> Reply:
            if service.embeddings.find(parsed.model) is None:
                raise _refused(service, parsed.model, self.path)
            vectors = await service.embeddings.embed(asked)
            return await _written(vectors, as_base64=as_base64)

        return Direct(context, answer, counts_itself=True)

    def error(self, error: WeirError) -> Reply:
        return error_reply(error)

    def late_error(self, error: WeirError) -> bytes:
        return error_event(error)


def texts_of(given: str | list[Any]) -> tuple[Text, ...]:
    """Return the texts, or the rows of token ids.

    Raises:
        ValidationError: it is empty, too much, or a mixture.
    """
    if isinstance(given, str):
        return (_checked_text(given),)
    if not given:
        raise _wrong("cannot be empty")
    if all(type(item) is int for item in given):
        return (_checked_ids(given),)
    if len(given) > MAX_TEXTS:
        raise _wrong(f"at most {MAX_TEXTS} texts in one request")
    if all(isinstance(item, str) for item in given):
        return tuple(map(_checked_text, given))
    if all(isinstance(item, list) and item and all(type(token) is int for token in item) for item in given):
        return tuple(map(_checked_ids, given))
    raise _wrong("a text, token ids, or a list of either is needed; none may be empty")


def _checked_text(text: str) -> str:
    if not text:
        raise _wrong("a text cannot be empty")
    return text


def _checked_ids(ids: list[int]) -> tuple[int, ...]:
    if not 0 <= min(ids) <= max(ids) < _LARGEST_ID:
        raise _wrong("token ids are positive")
    return tuple(ids)


def _wrong(words: str) -> ValidationError:
    return ValidationError(f"`input`: {words}", "input")


def _refused(service: "GenerationService", name: str | None, route: str) -> WeirError:
    """Say why there is no embedder of this name, and count it."""
    error: WeirError = ModelNotSupportedError("this model generates text; it gives no embeddings")
    try:
        service.catalog.resolve(name)
    except UnknownModelError as unknown:
        error = unknown
    service.metrics.requests(route, "none", "none", str(error.status.value)).inc()
    return error


async def _written(vectors: Vectors, *, as_base64: bool) -> Reply:
    is_long = not as_base64 and len(vectors.rows) * vectors.model.dimensions > _INLINE_NUMBERS
    body = await asyncio.to_thread(_body, vectors, as_base64) if is_long else _body(vectors, as_base64)
    model = vectors.model
    return Reply(200, [*JSON_HEADERS, *served_headers(model.name, model.version, "embedder", "")], body)


def _body(vectors: Vectors, as_base64: bool) -> bytes:
    data = [
        {"object": "embedding", "index": number, "embedding": row if as_base64 else _numbers(row)}
        for number, row in enumerate(vectors.rows)
    ]
    usage = {"prompt_tokens": vectors.tokens, "total_tokens": vectors.tokens}
    return orjson.dumps({"object": "list", "data": data, "model": vectors.model.name, "usage": usage})


def _numbers(row: str) -> list[float]:
    """Return the numbers of a vector in as many digits as float32 has."""
    return [float(f"{number:.9g}") for number in array("f", base64.b64decode(row))]
