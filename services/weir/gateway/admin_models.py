"""`/admin/models`: brings a version of a model to every node, while they serve. On the admin port, nowhere else.

`POST /admin/models/{model}/load` with `{"version": N}`, and `.../unload`. `/admin/models/{model}/adapters/{name}/load`
and `.../unload` for an adapter that was published beside the release, or deleted there.

The answer is one JSON object a line, as things happen: `{"node", "state", "words", "seconds"}` for a node, the states
being `weir.routing.rollout.State`, and at the end `{"gateway": "applied" | "refused" | "unchanged", "words"}`: applied
once every node has changed and the gateway has read its releases again.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import orjson

from weir.asgi.body import read_body
from weir.asgi.types import App, Receive, Scope, Send
from weir.backends.base import ManagedNode
from weir.contracts.errors import ValidationError, WeirError
from weir.contracts.request import MODEL_NAME
from weir.gateway.admin import Handler, answer, send_response
from weir.routing.rollout import Rollout, of_absence, of_adapter, of_adapters_absence, of_version

_PATH: Final = re.compile(r"/admin/models/(?P<model>[^/]+)(?:/adapters/(?P<adapter>[^/]+))?/(?P<what>load|unload)")
_NAME: Final = re.compile(MODEL_NAME)
_MOST_BYTES: Final = 4096
_BODY_TIMEOUT_S: Final = 10.0

Nodes = Callable[[], Awaitable[Sequence[ManagedNode]]]
Chosen = Callable[[str, int], None]


class AdminModels:
    """The ASGI app; `rest` answers what is not its own.

    `nodes` connects to them anew, for one change each time; `chosen` is told which version of a model all nodes load.
    """

    def __init__(self, nodes: Nodes, chosen: Chosen, reload: Handler, rest: App, may: Callable[[Scope], bool]) -> None:
        self._nodes = nodes
        self._chosen = chosen
        self._reload = reload
        self._rest = rest
        self._may = may
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            await self._rest(scope, receive, send)
        elif not self._may(scope):
            await send_response(send, answer(401, error="this needs the admin token", error_type="forbidden"))
        elif self._one_at_a_time.locked():
            await send_response(send, answer(409, error="another change is under way", error_type="conflict"))
        else:
            async with self._one_at_a_time:
                await self._change(found.groupdict(), scope, receive, send)

    async def _change(self, path: Mapping[str, str | None], scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(scope, receive, max_bytes=_MOST_BYTES, timeout_s=_BODY_TIMEOUT_S)
            rollout, version = _rollout(path, body)
            nodes = await self._nodes()
        except WeirError as error:
            await send_response(send, answer(error.status, error=str(error), error_type=error.code))
            return
        head = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        done = partial(self._chosen, path["model"] or "", version) if version else lambda: None
        async with aclosing(self._lines(rollout, nodes, done)) as lines:
            async for line in lines:
                await send({"type": "http.response.body", "body": orjson.dumps(line) + b"\n", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _lines(
        self, rollout: Rollout, nodes: Sequence[ManagedNode], done: Callable[[], None]
    ) -> AsyncGenerator[dict[str, Any], None]:
        try:
            async with aclosing(rollout(nodes)) as steps:
                async for step in steps:
                    yield {
                        "node": step.node,
                        "state": step.state,
                        "words": step.words,
                        "seconds": round(step.seconds, 3),
                    }
        finally:
            await asyncio.gather(*(node.aclose() for node in nodes))
        if rollout.failed:
            yield {"gateway": "unchanged", "words": "a node refused"}
            return
        done()
        read = await self._reload()
        said = orjson.loads(read.body)
        yield {"gateway": "applied" if read.status < 300 else "refused", "words": said.get("error", "")}


def _rollout(path: Mapping[str, str | None], body: bytes) -> tuple[Rollout, int]:
    """Read a request; also return the version that the gateway is to speak for then, 0: as before.

    Raises:
        ValidationError: it cannot be understood.
    """
    model, adapter = path["model"] or "", path["adapter"]
    if _NAME.fullmatch(model) is None:
        raise ValidationError(f"the model's name must match {MODEL_NAME}", "model")
    if adapter is not None:
        if _NAME.fullmatch(adapter) is None:
            raise ValidationError(f"the adapter's name must match {MODEL_NAME}", "adapter")
        return (of_adapter if path["what"] == "load" else of_adapters_absence)(model, adapter), 0
    if path["what"] == "unload":
        return of_absence(model), 0
    try:
        version = orjson.loads(body)["version"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        version = None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValidationError('the body must be {"version": N} with a positive integer', "version")
    return of_version(model, version), version
