"""Trace and request id as they come to Weir's model under Triton; Triton's own library is played."""

import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from tests.support.collector import collector
from tritonclient.grpc import service_pb2 as pb

from weir.backends.oip_proto import infer_request
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage
from weir.contracts.request import GenerateRequest
from weir.telemetry.tracing import open_tracing
from weir.triton_node.node import TritonNode
from weir.triton_node.settings import read_settings

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class PlayedEngine:
    """Says one word to everybody."""

    info = SimpleNamespace(model="faq", version=3)
    stats = SimpleNamespace(running=0, queued=0, last_progress=0.0)
    failed = False

    def start(self) -> None: ...

    async def stop(self, *, drain_s: float) -> None: ...

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Any]:
        yield TokenChunk("ok", 1)
        yield Finished(FinishReason.EOS, Usage(5, 1))


class PlayedRequest:
    """What Triton makes of the message that a gateway sends."""

    def __init__(self, request: GenerateRequest) -> None:
        self._message = pb.ModelInferRequest.FromString(infer_request(request, "faq"))
        self.inputs = {
            tensor.name: _array(tensor.datatype, raw)
            for tensor, raw in zip(self._message.inputs, self._message.raw_input_contents, strict=True)
        }
        self.answered = threading.Event()

    def parameters(self) -> str:
        given = self._message.parameters.items()
        return json.dumps({name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in given})

    def request_id(self) -> str:
        return str(self._message.id)

    def get_response_sender(self) -> Any:
        return MagicMock(send=self._sent, is_cancelled=lambda: False)

    def _sent(self, response: Any, flags: int = 0) -> None:
        if flags:
            self.answered.set()


def _array(datatype: str, raw: bytes) -> Any:
    return np.array([raw[4:]], dtype=np.object_) if datatype == "BYTES" else np.array([raw == b"\x01"])


def _pb() -> Any:
    def tensor(request: PlayedRequest, name: str) -> Any:
        value = request.inputs.get(name)
        return None if value is None else MagicMock(as_numpy=lambda: value)

    return MagicMock(get_input_tensor_by_name=tensor, TRITONSERVER_RESPONSE_COMPLETE_FINAL=1)


def test_a_gateways_trace_and_request_id_reach_weirs_model(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with collector() as spans:
        settings = read_settings({"otlp_endpoint": {"string_value": spans.url}})
        tracing = open_tracing(settings.tracing(), "weir-triton", "1")
        node = TritonNode(_pb(), "faq", Path("nowhere", "3"), PlayedEngine, MagicMock(), tracing)  # type: ignore[arg-type]
        asked = GenerateRequest(id="over-grpc-1", prompt="hello", traceparent=f"00-{TRACE}-{PARENT}-01")
        untraced = GenerateRequest(id="over-grpc-2", prompt="hello")
        for request in (PlayedRequest(asked), PlayedRequest(untraced)):
            node.execute([request])
            assert request.answered.wait(20)
        node.finalize()

    (span,) = spans.spans
    assert (span.service, span.trace_id, span.parent_id) == ("weir-triton", TRACE, PARENT)
    assert span.attributes["weir.request_id"] == "over-grpc-1"
    assert [span.attributes[f"gen_ai.usage.{side}_tokens"] for side in ("input", "output")] == [5, 1]
    lines = [record for record in caplog.records if record.getMessage() == "request_done"]
    assert [getattr(line, "request_id", None) for line in lines] == ["over-grpc-1", "over-grpc-2"]
    assert [getattr(line, "trace_id", None) for line in lines] == [TRACE, None]
