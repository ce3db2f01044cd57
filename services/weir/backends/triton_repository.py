"""Triton's model repository: which version of a model it serves."""

from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.json_format import MessageToJson
from tritonclient.grpc import service_pb2 as pb

from weir.contracts.errors import BackendUnavailableError, ReleaseError
from weir.contracts.repository import REPOSITORY_KEY

_LOAD_TIMEOUT_S: Final = 600.0
_ASK_TIMEOUT_S: Final = 2.0
_SERVICE: Final = "/inference.GRPCInferenceService/"


class TritonRepository:
    """The calls that a restricted server wants a key for; `node` is what errors call it."""

    def __init__(self, node: str, channel: grpc.aio.Channel, key: str) -> None:
        self._node = node
        self._key = ((f"triton-grpc-protocol-{REPOSITORY_KEY}", key),) if key else ()
        self._patiently: dict[str, Any] = {"timeout": _LOAD_TIMEOUT_S, "metadata": self._key}
        self._index = _call(channel, "RepositoryIndex", pb.RepositoryIndexRequest, pb.RepositoryIndexResponse)
        self._load = _call(
            channel, "RepositoryModelLoad", pb.RepositoryModelLoadRequest, pb.RepositoryModelLoadResponse
        )
        self._unload = _call(
            channel, "RepositoryModelUnload", pb.RepositoryModelUnloadRequest, pb.RepositoryModelUnloadResponse
        )
        self._config = _call(channel, "ModelConfig", pb.ModelConfigRequest, pb.ModelConfigResponse)

    async def load(self, model: str, version: int) -> None:
        """Make Triton serve exactly this version; others of the model leave once it is there.

        Which versions are served is a matter of the model's configuration, so the one that it has is given back with
        another policy. Of a model that is not loaded there is none to be had: its folder's own, and with it the
        highest version, is loaded before.

        Raises:
            ReleaseError: Triton refused, and goes on with what it has.
        """
        try:
            if not await self._versions(model):
                await self._load(pb.RepositoryModelLoadRequest(model_name=model), **self._patiently)
            if await self._versions(model) != [version]:
                request = pb.RepositoryModelLoadRequest(model_name=model)
                request.parameters["config"].string_param = await self._pinned(model, version)
                await self._load(request, **self._patiently)
            if version not in await self._versions(model):
                raise ReleaseError(f"{self._node} loaded {model}, but version {version} is not ready there")
        except grpc.aio.AioRpcError as error:
            raise ReleaseError(f"{self._node} did not load {model} {version}: {_words(error)}") from error

    async def serving(self, model: str) -> int | None:
        """Return the version that requests get which name none: the highest.

        Raises:
            BackendUnavailableError: Triton does not say.
        """
        try:
            return max(await self._versions(model), default=None)
        except grpc.aio.AioRpcError as error:
            raise BackendUnavailableError(f"{self._node} does not say what it serves: {_words(error)}") from error

    async def unload(self, model: str) -> None:
        """Stop serving `model`; Triton finishes what runs.

        Raises:
            ReleaseError: Triton refused.
        """
        try:
            await self._unload(pb.RepositoryModelUnloadRequest(model_name=model), **self._patiently)
        except grpc.aio.AioRpcError as error:
            raise ReleaseError(f"{self._node} did not unload {model}: {_words(error)}") from error

    async def _versions(self, model: str) -> list[int]:
        index = await self._index(pb.RepositoryIndexRequest(ready=True), timeout=_ASK_TIMEOUT_S, metadata=self._key)
        return sorted(int(entry.version) for entry in index.models if entry.name == model)

    async def _pinned(self, model: str, version: int) -> str:
        config = (await self._config(pb.ModelConfigRequest(name=model), timeout=_ASK_TIMEOUT_S)).config
        config.version_policy.Clear()
        config.version_policy.specific.versions.append(version)
        return str(MessageToJson(config, preserving_proto_field_name=True))


def _call(channel: grpc.aio.Channel, name: str, asked: Any, answered: Any) -> Any:
    return channel.unary_unary(
        _SERVICE + name, request_serializer=asked.SerializeToString, response_deserializer=answered.FromString
    )


def _words(error: grpc.aio.AioRpcError) -> str:
    """Return what Triton said, without the trace of Python's that it shows."""
    return (error.details() or "").partition("\n")[0] or error.code().name.lower()
