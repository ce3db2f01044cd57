"""Google Vertex AI's one route, `/vertex`, as TGI answers it: several instances, one text each."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import orjson
from pydantic import BaseModel, Field

from weir.contracts.errors import ValidationError, WeirError
from weir.gateway.generation import Ask, Generation, RequestContext
from weir.gateway.streams import Collected
from weir.gateway.surfaces.base import JSON_HEADERS, STREAM_HEADERS, Headers, Reply, Wire, decoded
from weir.gateway.surfaces.limits import MAX_BATCH
from weir.gateway.surfaces.tgi import asks_of
from weir.gateway.surfaces.tgi_errors import error_event, error_reply
from weir.gateway.surfaces.tgi_wire import TgiBody, TgiParameters, check


class VertexInstance(Wire):
    """`parameters` as on `/generate`."""

    inputs: str
    parameters: TgiParameters | None = None


class VertexBody(Wire):
    """`parameters` stand for instances that have none of their own."""

    instances: list[VertexInstance] = Field(min_length=1, max_length=MAX_BATCH)
    parameters: TgiParameters | None = None


@dataclass(frozen=True, slots=True)
class VertexSurface:
    path: str = "/vertex"

    @property
    def body_model(self) -> type[BaseModel]:
        return VertexBody

    @property
    def summary(self) -> str:
        return "Generate texts (Google Vertex AI)"

    def parse(self, body: bytes, context: RequestContext) -> "VertexJob":
        parsed = decoded(VertexBody, body)
        asks: list[Ask] = []
        for instance in parsed.instances:
            one = TgiBody(inputs=instance.inputs, parameters=instance.parameters or parsed.parameters)
            check(one, is_stream=False)
            if one.parameters is not None and (one.parameters.best_of or 1) > 1:
                raise ValidationError("`best_of` != 1 is not supported here", "parameters.best_of")
            asks += asks_of(one, self.path, context, with_tokens=False)
        return VertexJob(tuple(asks))

    def error(self, error: WeirError) -> Reply:
        return error_reply(error)

    def late_error(self, error: WeirError) -> bytes:
        return error_event(error)


@dataclass(frozen=True, slots=True)
class VertexJob:
    """One parsed request; never a stream."""

    asks: tuple[Ask, ...]
    is_stream: bool = False

    def whole(self, generations: Sequence[Generation], answers: Sequence[Collected]) -> Reply:  # noqa: ARG002
        return Reply(200, JSON_HEADERS, orjson.dumps({"predictions": [answer.text for answer in answers]}))

    def stream_headers(self, generations: Sequence[Generation]) -> Headers:  # noqa: ARG002 - never asked for
        return STREAM_HEADERS

    async def frames(self, generations: Sequence[Generation]) -> AsyncGenerator[bytes, None]:  # noqa: ARG002
        raise NotImplementedError("this route does not stream")
        yield b""
