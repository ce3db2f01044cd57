"""Settings of nodes."""

from pydantic import BaseModel, ConfigDict, Field

from weir.contracts.manifest import Flavour
from weir.routing.discovery import NodeSpec

_URL = r"^((dns\+)?(http://[^\s/]+|grpc(\+trtllm)?://[^\s/:]+:[0-9]+)|https://[^\s/]+)/?$"


class NodeSettings(BaseModel):
    """One node that the gateway may route to, or all at the addresses of a name.

    `pool` is the kind of node in metrics; `flavour` is what it runs, where it does not say so itself; `metrics_port` is
    Triton's, for the load that Weir's model publishes there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9-]{1,32}$")
    url: str = Field(pattern=_URL, description="http, https or grpc; dns+http or dns+grpc: every address of the name")
    pool: str = Field(default="cpu", pattern=r"^[a-z0-9-]{1,32}$")
    flavour: Flavour | None = None
    metrics_port: int | None = Field(default=None, ge=1, le=65535)


def spec_of(node: NodeSettings) -> NodeSpec:
    return NodeSpec(node.name, node.url.rstrip("/"), node.pool, node.flavour, node.metrics_port)
