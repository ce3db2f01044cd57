"""Amazon SageMaker's one route, `/invocations`, as TGI answers it: which API a body speaks is told by its fields."""

from dataclasses import dataclass

import orjson
from pydantic import BaseModel

from weir.contracts.errors import ValidationError, WeirError
from weir.gateway.generation import RequestContext
from weir.gateway.refusals import UnreadableBodyError
from weir.gateway.surfaces.base import Direct, Job, Reply, Surface
from weir.gateway.surfaces.tgi_errors import error_event, error_reply


@dataclass(frozen=True, slots=True)
class InvocationsSurface:
    """`by_field`: the first field that a body has decides. Errors have TGI's form whatever the body speaks."""

    by_field: tuple[tuple[str, Surface], ...]
    path: str = "/invocations"

    @property
    def body_model(self) -> type[BaseModel]:
        return self.by_field[-1][1].body_model

    @property
    def summary(self) -> str:
        return "Generate text (Amazon SageMaker)"

    def parse(self, body: bytes, context: RequestContext) -> Job | Direct:
        try:
            given = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise UnreadableBodyError("the body is not valid JSON text") from None
        for field, surface in self.by_field:
            if isinstance(given, dict) and field in given:
                return surface.parse(body, context)
        fields = ", ".join(f"`{field}`" for field, _ in self.by_field)
        raise ValidationError(f"one of {fields} is needed", self.by_field[-1][0])

    def error(self, error: WeirError) -> Reply:
        return error_reply(error)

    def late_error(self, error: WeirError) -> bytes:
        return error_event(error)
