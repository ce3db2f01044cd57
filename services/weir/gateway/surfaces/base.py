"""What every surface offers to the ASGI side."""

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict

from weir.contracts.errors import OverloadedError, ValidationError, WeirError
from weir.contracts.request import SamplingParams
from weir.gateway.generation import Ask, Generation, RequestContext
from weir.gateway.json_body import parse_json
from weir.gateway.streams import Collected

if TYPE_CHECKING:
    from weir.gateway.service import GenerationService

Headers = list[tuple[bytes, bytes]]
JSON_HEADERS: Headers = [(b"content-type", b"application/json")]
STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]

_NEVER_THE_SAME = frozenset({"seed", "grammar", "logit_bias", "stop_token_ids"})  # or large, or not to be hashed

Body = TypeVar("Body", bound=BaseModel)


class Wire(BaseModel):
    """Base of request bodies: unknown fields are ignored, as clients send many."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Reply(NamedTuple):
    """A whole response."""

    status: int
    headers: Headers
    body: bytes


class Job(Protocol):
    """One parsed request and how its answer is put."""

    @property
    def asks(self) -> Sequence[Ask]:
        """One or more (`n`, `best_of`, a list of prompts); all are run at once, the answer is in their order."""
        ...

    @property
    def is_stream(self) -> bool: ...

    def whole(self, generations: Sequence[Generation], answers: Sequence[Collected]) -> Reply: ...

    def stream_headers(self, generations: Sequence[Generation]) -> Headers: ...

    def frames(self, generations: Sequence[Generation]) -> AsyncGenerator[bytes, None]:
        """Yield server-sent events; a failure is raised, the caller frames it with `Surface.late_error`."""
        ...


@dataclass(frozen=True, slots=True)
class Direct:
    """One parsed request that needs no generation; `answer` is awaited once.

    A failure is raised, as a `WeirError`; the surface frames it. `counts_itself`: whoever answers also counts it.
    """

    context: RequestContext
    answer: Callable[["GenerationService"], Awaitable[Reply]]
    counts_itself: bool = False


class Surface(Protocol):
    """One route of one API."""

    @property
    def path(self) -> str: ...

    @property
    def body_model(self) -> type[BaseModel]: ...

    @property
    def summary(self) -> str: ...

    def parse(self, body: bytes, context: RequestContext) -> Job | Direct:
        """Raises `RequestRejectedError` when the body is not what the API takes."""
        ...

    def error(self, error: WeirError) -> Reply: ...

    def late_error(self, error: WeirError) -> bytes:
        """Frame a failure of a stream that has begun."""
        ...


def decoded(model: type[Body], body: bytes) -> Body:
    """Parse a request body.

    Raises:
        UnreadableBodyError: it is not JSON that can be represented.
        ValidationError: a field is missing, of the wrong type or out of bounds. Neither message quotes the body.
    """
    return checked(model, parse_json(body))


def checked(model: type[Body], value: Any) -> Body:
    """Validate a request body that was read.

    Raises:
        ValidationError: as `decoded`.
    """
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = _location(first["loc"])
        raise ValidationError(_named(field, first["msg"]), field or None) from None


def _location(parts: Sequence[int | str]) -> str:
    """Return the dotted path; where a key of the caller's own is wrong (`logit_bias`), the path ends before it."""
    names = [str(part) for part in parts]
    if "[key]" in names:
        names = names[: max(names.index("[key]") - 1, 0)]
    return ".".join(names)


def sampling(prefix: str = "", renamed: dict[str, str] | None = None, **values: Any) -> SamplingParams:
    """Build sampling parameters; none means the default.

    Raises:
        ValidationError: one is out of bounds; `prefix` and `renamed` make the name the one that the caller wrote.
    """
    given = {key: value for key, value in values.items() if value is not None}
    try:
        if given.keys().isdisjoint(_NEVER_THE_SAME):
            return _known_sampling(tuple(given.items()))
        return SamplingParams.model_validate(given)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name, *rest = (str(part) for part in first["loc"])
        field = ".".join([prefix + (renamed or {}).get(name, name), *rest])
        raise ValidationError(_named(field, first["msg"]), field) from None


@lru_cache(maxsize=256)
def _known_sampling(given: tuple[tuple[str, Any], ...]) -> SamplingParams:
    """Most clients ask for the same again and again. All that is given here was typed by the body's model."""
    return SamplingParams.model_validate(dict(given))


def retry_after(error: WeirError) -> Headers:
    """Return the Retry-After header of a failure that another attempt may cure."""
    if isinstance(error, OverloadedError):
        return [(b"retry-after", b"%d" % max(round(error.retry_after_s), 1))]
    return [(b"retry-after", b"1")] if error.retryable else []


def new_request_id() -> str:
    """Return an id that is nobody else's; it is no secret, and a fork seeds the generator anew."""
    return f"{random.getrandbits(96):024x}"


def _named(field: str, message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"`{field}`: {message}" if field else message
