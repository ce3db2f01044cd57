"""From a node's URL to who speaks to it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from weir.backends.gauges import Gauges
from weir.backends.http_node import HttpNode
from weir.contracts.errors import UsageError

if TYPE_CHECKING:
    from weir.backends.grpc_node import GrpcNode

NODE_URL: Final = r"^(https?://[^\s/]+|grpc(\+trtllm)?://[^\s/:]+:[0-9]+)/?$"


def connect(
    name: str,
    url: str,
    model: str,
    *,
    others: Sequence[str] = (),
    repository_key: str = "",
    metrics_port: int | None = None,
) -> "HttpNode | GrpcNode":
    """Return a client of the node at `url` (`NODE_URL`); nothing is opened before the first request.

    `others`: further models that it may serve. grpc+trtllm is a Triton that serves TensorRT-LLM's LLM API model.
    `metrics_port`: where a Triton server publishes the load of Weir's model.

    Raises:
        UsageError: gRPC is not installed.
    """
    if not url.startswith("grpc"):
        return HttpNode(name, url, model, others=others, repository_key=repository_key)
    try:
        # Here: gRPC and its numpy are large, and few gateways need them.
        from weir.backends.grpc_node import GrpcNode
        from weir.backends.tensorrt_llm import SCHEME, TensorRtLlmNode
    except ModuleNotFoundError as error:
        raise UsageError(f"a grpc:// node needs {error.name}: pip install 'weir[triton-nodes]'") from None
    scheme, _, rest = url.partition("://")
    address = rest.rstrip("/")
    gauges = None if metrics_port is None else Gauges(f"http://{address.rpartition(':')[0]}:{metrics_port}")
    kind = TensorRtLlmNode if scheme == SCHEME else GrpcNode
    return kind(name, address, model, others=others, repository_key=repository_key, gauges=gauges)
