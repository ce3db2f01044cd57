"""A scripted node over gRPC, in a process of its own, in the messages of Triton's `ModelStreamInfer`. It is no Triton.

`python -m weir_training.benching.gateway.fast_grpc_node PORT`
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import grpc.aio
import orjson
import uvloop
from tritonclient.grpc import service_pb2 as pb

from weir_training.benching.gateway.script import moment, order, word

_SERVICE: Final = "inference.GRPCInferenceService"


async def _infer(messages: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    del context
    async for message in messages:
        prompt, sampling = (raw[4:] for raw in message.raw_input_contents[:2])
        asked = order(prompt.decode(), orjson.loads(sampling)["max_tokens"])
        with_tokens = message.parameters["return_tokens"].bool_param
        if not asked.interval_s:
            yield _response([word(0)], with_tokens=with_tokens)
            yield _response([*map(word, range(1, asked.tokens))], with_tokens=with_tokens, is_last=True)
            return
        clock = asyncio.get_running_loop().time
        tick = clock() + asked.interval_s
        for number in range(asked.tokens):
            await asyncio.sleep(tick - clock())
            tick += asked.interval_s
            yield _response([word(number)], with_tokens=with_tokens, is_last=number + 1 == asked.tokens)


def _response(texts: list[str], *, with_tokens: bool, is_last: bool = False) -> Any:
    response = pb.ModelStreamInferResponse()
    outputs: dict[str, bytes | int] = {"text_output": "".join(texts).encode(), "num_output_tokens": len(texts)}
    if with_tokens:
        tokens = [{"id": moment(), "text": text, "logprob": -0.5, "special": False} for text in texts]
        outputs["tokens"] = orjson.dumps(tokens)
    if is_last:
        outputs |= {"finish_reason": b"length", "num_input_tokens": 5}
    for name, value in outputs.items():
        is_text = isinstance(value, bytes)
        response.infer_response.outputs.add(name=name, datatype="BYTES" if is_text else "UINT32", shape=[1])
        raw = len(value).to_bytes(4, "little") + value if isinstance(value, bytes) else value.to_bytes(4, "little")
        response.infer_response.raw_output_contents.append(raw)
    return response


async def _ready(request: Any, context: Any) -> Any:
    del request, context
    return pb.ModelReadyResponse(ready=True)


async def _serve(port: int) -> None:
    server = grpc.aio.server()
    handlers = {
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
            _infer, pb.ModelInferRequest.FromString, pb.ModelStreamInferResponse.SerializeToString
        ),
        "ModelReady": grpc.unary_unary_rpc_method_handler(
            _ready, pb.ModelReadyRequest.FromString, pb.ModelReadyResponse.SerializeToString
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
