"""OpenAI's embeddings: `/v1/embeddings`. No release that Weir makes gives hidden states, so every model refuses."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from weir.contracts.errors import WeirError
from weir.gateway.generation import RequestContext
from weir.gateway.refusals import ModelNotSupportedError
from weir.gateway.surfaces.base import Job, Reply, Wire, decoded
from weir.gateway.surfaces.openai_errors import error_event, error_reply


class EmbeddingBody(Wire):
    input: str | list[Any] = Field(min_length=1, max_length=1_048_576)
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingSurface:
    path: str = "/v1/embeddings"

    @property
    def body_model(self) -> type[BaseModel]:
        return EmbeddingBody

    @property
    def summary(self) -> str:
        return "Embeddings (OpenAI); refused as `model_not_supported` by models that generate text, which all are"

    def parse(self, body: bytes, context: RequestContext) -> Job:  # noqa: ARG002 - refused whoever asks
        decoded(EmbeddingBody, body)
        raise ModelNotSupportedError("this model generates text; it gives no embeddings")

    def error(self, error: WeirError) -> Reply:
        return error_reply(error)

    def late_error(self, error: WeirError) -> bytes:
        return error_event(error)
