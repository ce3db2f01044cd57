"""Settings of one embedder: a release, and the nodes that serve it."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NodeUrl = Annotated[str, Field(pattern=r"^https?://[^\s/]+/?$")]


class EmbedderSettings(BaseModel):
    """What `/v1/embeddings` answers with; the first one stands for requests without a model's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: Path = Field(description="of an embedder; a folder of versions stands for its newest one")
    urls: tuple[NodeUrl, ...] = Field(
        default=(), description="nodes that serve it; none: the http:// nodes that `nodes` lists"
    )
    timeout_s: float = Field(default=30.0, gt=0, le=600, description="without an answer from a node")
    max_in_flight: int = Field(default=64, ge=1, le=10_000, description="requests at once; more are 503")
