"""Triton's model repository: which version of a model it serves."""

from typing import Any, Final

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from weir.backends.grpc_call import Code, RpcError, SilenceError
from weir.backends.grpc_wire import Channel, Metadata, NotConnectedError
from weir.contracts.errors import BackendUnavailableError, ReleaseError
from weir.contracts.repository import REPOSITORY_KEY

_FAILURES: Final = (NotConnectedError, RpcError, SilenceError)
_LOAD_TIMEOUT_S: Final = 600.0
_ASK_TIMEOUT_S: Final = 2.0
SERVICE: Final = "/inference.GRPCInferenceService/"


class TritonRepository:
    """The calls that a restricted server wants a key for; `node` is what errors call it."""

    def __init__(self, node: str, channel: Channel, key: str) -> None:
        self._node = node
        self._channel = channel
        self._key: Metadata = ((f"triton-grpc-protocol-{REPOSITORY_KEY}", key),) if key else ()

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
                await self._load(pb.RepositoryModelLoadRequest(model_name=model))
            if await self._versions(model) != [version]:
                request = pb.RepositoryModelLoadRequest(model_name=model)
                request.parameters["config"].string_param = await self._pinned(model, version)
                await self._load(request)
            if version not in await self._versions(model):
                raise ReleaseError(f"{self._node} loaded {model}, but version {version} is not ready there")
        except _FAILURES as error:
            raise ReleaseError(f"{self._node} did not load {model} {version}: {_words(error)}") from error

    async def serving(self, model: str) -> int | None:
        """Return the version that requests get which name none: the highest.

        Raises:
            BackendUnavailableError: Triton does not say.
        """
        try:
            return max(await self._versions(model), default=None)
        except _FAILURES as error:
            raise BackendUnavailableError(f"{self._node} does not say what it serves: {_words(error)}") from error

    async def unload(self, model: str) -> None:
        """Stop serving `model`; Triton finishes what runs.

        Raises:
            ReleaseError: Triton refused.
        """
        try:
            request = pb.RepositoryModelUnloadRequest(model_name=model)
            await self._ask("RepositoryModelUnload", request, pb.RepositoryModelUnloadResponse, _LOAD_TIMEOUT_S)
        except _FAILURES as error:
            raise ReleaseError(f"{self._node} did not unload {model}: {_words(error)}") from error

    async def _load(self, request: Any) -> None:
        await self._ask("RepositoryModelLoad", request, pb.RepositoryModelLoadResponse, _LOAD_TIMEOUT_S)

    async def _versions(self, model: str) -> list[int]:
        asked = pb.RepositoryIndexRequest(ready=True)
        index = await self._ask("RepositoryIndex", asked, pb.RepositoryIndexResponse, _ASK_TIMEOUT_S)
        return sorted(int(entry.version) for entry in index.models if entry.name == model)

    async def _pinned(self, model: str, version: int) -> str:
        asked = pb.ModelConfigRequest(name=model)
        config = (
            await ask(self._channel, "ModelConfig", asked, pb.ModelConfigResponse, timeout_s=_ASK_TIMEOUT_S)
        ).config
        config.version_policy.Clear()
        config.version_policy.specific.versions.append(version)
        return str(MessageToJson(config, preserving_proto_field_name=True))

    async def _ask(self, name: str, request: Any, answered: Any, timeout_s: float) -> Any:
        return await ask(self._channel, name, request, answered, timeout_s=timeout_s, metadata=self._key)


async def ask(
    channel: Channel, name: str, request: Any, answered: Any, *, timeout_s: float, metadata: Metadata = ()
) -> Any:
    """Make one of Triton's calls that one message answers.

    Raises:
        NotConnectedError, RpcError, SilenceError: as `Channel.unary`.
    """
    raw = await channel.unary(SERVICE + name, request.SerializeToString(), timeout_s=timeout_s, metadata=metadata)
    try:
        return answered.FromString(raw)
    except DecodeError:
        raise RpcError(Code.INTERNAL, "the answer is not the protocol") from None


def _words(error: Exception) -> str:
    """Return what Triton said, without the trace of Python's that it shows."""
    return str(error).partition("\n")[0] or (error.name if isinstance(error, RpcError) else "no answer")
