"""What a real Triton cannot be told to do: plays a script over real gRPC, in Triton's messages."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2 as pb

from tests.support.oip_node import CUT
from weir.contracts.errors import WeirError
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage
from weir.contracts.request import GenerateRequest, SamplingParams

SERVICE = "inference.GRPCInferenceService"


class GrpcNode:
    """A script is a sequence of events, waits in seconds, errors, raw `ModelStreamInferResponse`s and `CUT`."""

    def __init__(self, script: Any = ()) -> None:
        self.script: Sequence[Any] | Callable[[GenerateRequest], Sequence[Any]] = script
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.is_ready = True
        self.backend = "vllm"
        self.parameters: dict[str, str] = {}
        self.lacks: set[str] = set()  # models that it does not have
        self.closed_at: list[float] = []

    async def infer(self, messages: Any, context: Any) -> AsyncIterator[Any]:
        asked = [message async for message in messages]
        assert len(asked) == 1, "one call is one request"
        if "heartbeat" in asked[0].parameters:  # as any model but Weir's own: it generates a token
            yield response(Finished(FinishReason.LENGTH, Usage(1, 1)))
            return
        self.requests.append(asked[0])
        self.metadata.append(dict(context.invocation_metadata()))
        is_over = False
        try:
            for step in self._steps(asked[0]):
                if isinstance(step, int | float):
                    await asyncio.sleep(step)
                elif step == CUT:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
                else:
                    is_over = isinstance(step, Finished | WeirError)
                    yield response(step, with_tokens=asked[0].parameters["return_tokens"].bool_param)
        finally:
            if not is_over:
                self.closed_at.append(time.monotonic())

    async def model_ready(self, request: Any, context: Any) -> Any:
        return pb.ModelReadyResponse(ready=self.is_ready and request.name not in self.lacks)

    async def config(self, request: Any, context: Any) -> Any:
        if request.name in self.lacks:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}' is not found")
        answer = pb.ModelConfigResponse()
        answer.config.name, answer.config.backend = request.name, self.backend
        for name, value in self.parameters.items():
            answer.config.parameters[name].string_value = value
        return answer

    async def metadata_of_server(self, request: Any, context: Any) -> Any:
        return pb.ServerMetadataResponse(name="triton", version="2.51.0")

    def _steps(self, message: Any) -> Sequence[Any]:
        if not callable(self.script):
            return self.script
        sampling = json.loads(message.raw_input_contents[1][4:])
        request = GenerateRequest(
            id=message.id,
            prompt=message.raw_input_contents[0][4:].decode(),
            sampling=SamplingParams(max_new_tokens=sampling["max_tokens"]),
            return_tokens=message.parameters["return_tokens"].bool_param,
        )
        return self.script(request)


def response(step: Any, *, with_tokens: bool = False) -> Any:
    match step:
        case TokenChunk(text=text, token_count=count, tokens=tokens):
            given = [{"id": t.id, "text": t.text, "logprob": t.logprob, "special": t.special} for t in tokens]
            outputs = {"text_output": text, "finish_reason": "None", "num_output_tokens": count}
            return outputs_of(outputs | ({"tokens": json.dumps(given)} if with_tokens else {}))
        case Finished(reason=reason, usage=usage):
            counts = {"num_input_tokens": usage.prompt_tokens, "num_output_tokens": 0}
            return outputs_of({"text_output": "", "finish_reason": reason.value, **counts})
        case WeirError():
            return pb.ModelStreamInferResponse(error_message=f"{step.code}: {step}")
        case _:
            return step


def outputs_of(outputs: dict[str, str | int]) -> Any:
    made = pb.ModelStreamInferResponse()
    for name, value in outputs.items():
        is_text = isinstance(value, str)
        made.infer_response.outputs.add(name=name, datatype="BYTES" if is_text else "UINT32", shape=[1])
        raw = value.encode() if isinstance(value, str) else value.to_bytes(4, "little")
        made.infer_response.raw_output_contents.append(len(raw).to_bytes(4, "little") + raw if is_text else raw)
    return made


@asynccontextmanager
async def serving(node: GrpcNode) -> AsyncIterator[str]:
    """Serve in the running loop; the value is the address."""
    server = grpc.aio.server()
    handlers = {
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
            node.infer,
            request_deserializer=pb.ModelInferRequest.FromString,
            response_serializer=pb.ModelStreamInferResponse.SerializeToString,
        ),
        "ModelReady": grpc.unary_unary_rpc_method_handler(
            node.model_ready,
            request_deserializer=pb.ModelReadyRequest.FromString,
            response_serializer=pb.ModelReadyResponse.SerializeToString,
        ),
        "ModelConfig": grpc.unary_unary_rpc_method_handler(
            node.config,
            request_deserializer=pb.ModelConfigRequest.FromString,
            response_serializer=pb.ModelConfigResponse.SerializeToString,
        ),
        "ServerMetadata": grpc.unary_unary_rpc_method_handler(
            node.metadata_of_server,
            request_deserializer=pb.ServerMetadataRequest.FromString,
            response_serializer=pb.ServerMetadataResponse.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
