"""Which surface answers a POST: exact paths first, then the few patterns."""

import re
from collections.abc import Iterable
from dataclasses import replace

from weir.gateway.exchange import Exchange
from weir.gateway.surfaces.base import Surface
from weir.gateway.surfaces.openai import ChatSurface
from weir.gateway.surfaces.openai_completions import CompletionSurface
from weir.gateway.surfaces.openai_embeddings import EmbeddingSurface
from weir.gateway.surfaces.openai_responses import ResponsesSurface
from weir.gateway.surfaces.sagemaker import InvocationsSurface
from weir.gateway.surfaces.tgi import TgiSurface
from weir.gateway.surfaces.tgi_tokens import ChatTokenizeSurface, TokenizeSurface
from weir.gateway.surfaces.triton import TritonSurface
from weir.gateway.surfaces.vertex import VertexSurface

EXACT: tuple[Surface, ...] = (
    TgiSurface("/", in_array=True),
    TgiSurface("/generate"),
    TgiSurface("/generate_stream", streams=True),
    ChatSurface(),
    CompletionSurface(),
    ResponsesSurface(),
    EmbeddingSurface(),
    TokenizeSurface(),
    ChatTokenizeSurface(),
    InvocationsSurface(
        (
            ("messages", ChatSurface("/invocations")),
            ("prompt", CompletionSurface("/invocations")),
            ("inputs", TgiSurface("/invocations", in_array=True)),
        )
    ),
    VertexSurface(),
)
# Of a path with parameters there is one surface; each request gets a copy that knows them.
PATTERNS: tuple[TritonSurface, ...] = (
    TritonSurface("/v2/models/{model}/generate"),
    TritonSurface("/v2/models/{model}/generate_stream", streams=True),
    TritonSurface("/v2/models/{model}/versions/{version}/generate"),
    TritonSurface("/v2/models/{model}/versions/{version}/generate_stream", streams=True),
)
SURFACES: tuple[Surface, ...] = (*EXACT, *PATTERNS)


class Routes:
    """Finds the exchange of a path. The hot ones cost one look into a dictionary."""

    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        self._exact: dict[str, Exchange] = {}
        self._patterns: list[tuple[re.Pattern[str], Exchange, TritonSurface]] = []
        for exchange in exchanges:
            if isinstance(exchange.surface, TritonSurface):
                pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", exchange.surface.path)
                self._patterns.append((re.compile(pattern), exchange, exchange.surface))
            else:
                self._exact[exchange.surface.path] = exchange

    def find(self, path: str) -> Exchange | None:
        exact = self._exact.get(path)
        if exact is not None or not path.startswith("/v2/"):
            return exact
        for pattern, exchange, surface in self._patterns:
            found = pattern.fullmatch(path)
            if found is not None:
                return replace(exchange, surface=surface.of(**found.groupdict()))
        return None
