"""What a gateway sends to Triton, and what it makes of the answers. What all backends share is in their contract."""

import json
from contextlib import aclosing
from typing import Any

import pytest
from tests.support.gateway import running
from tests.support.grpc_node import GrpcNode as Triton
from tests.support.grpc_node import outputs_of, serving
from tests.support.oip_node import CUT
from tritonclient.grpc import service_pb2 as pb

from weir.backends.gauges import Gauges
from weir.backends.grpc_node import GrpcNode
from weir.backends.pulse import Pulse
from weir.contracts.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    NodeUnreachableError,
    OverloadedError,
)
from weir.contracts.events import Finished, FinishReason, GenerationEvent, TokenChunk, Usage
from weir.contracts.request import GenerateRequest, SamplingParams

DONE = Finished(FinishReason.EOS, Usage(5, 1))
ASKED = GenerateRequest(id="r", prompt="怎么退货？", sampling=SamplingParams(max_new_tokens=9))


async def asked_of(triton: Triton, asked: GenerateRequest = ASKED) -> list[GenerationEvent]:
    async with serving(triton) as address:
        backend = GrpcNode("gpu", address, "tiny")
        try:
            async with aclosing(backend.generate(asked, timeout_s=5)) as events:
                return [event async for event in events]
        finally:
            await backend.aclose()


async def test_the_request_has_the_form_of_tritons_vllm_backend() -> None:
    triton = Triton([DONE])
    asked = GenerateRequest(
        id="r2",
        model="faq",
        prompt="怎么退货？",
        sampling=SamplingParams(max_new_tokens=9, temperature=0.5, stop=("。",)),
        adapter="returns",
        return_tokens=True,
        priority=2,
        deadline_s=9.5,
        cache_salt="s",
    )
    await asked_of(triton, asked)

    (request,) = triton.requests
    assert (request.model_name, request.id) == ("faq", "r2")
    inputs = dict(zip([(i.name, i.datatype) for i in request.inputs], request.raw_input_contents, strict=True))
    text, sampling = inputs.pop(("text_input", "BYTES")), inputs.pop(("sampling_parameters", "BYTES"))
    assert int.from_bytes(text[:4], "little") == len(text) - 4
    assert text[4:].decode() == "怎么退货？"
    assert json.loads(sampling[4:]) == {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 1.0,
        "top_k": 0,
        "repetition_penalty": 1.0,
        "stop": ["。"],
        "ignore_eos": False,
        "lora_name": "returns",
    }
    assert inputs == {
        (name, "BOOL"): b"\x01"
        for name in (
            "stream",
            "exclude_input_in_output",
            "return_finish_reason",
            "return_num_input_tokens",
            "return_num_output_tokens",
        )
    }
    parameters = {name: value.WhichOneof("parameter_choice") for name, value in request.parameters.items()}
    assert parameters == {
        "return_tokens": "bool_param",
        "weir_priority": "int64_param",
        "deadline_s": "double_param",
        "cache_salt": "string_param",
    }


async def test_the_traceparent_is_metadata_for_triton_and_a_parameter_for_the_model() -> None:
    triton, traceparent = Triton([DONE]), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await asked_of(triton, ASKED.changed(traceparent=traceparent))
    await asked_of(triton, ASKED)

    assert [metadata.get("traceparent") for metadata in triton.metadata] == [traceparent, None]
    assert triton.requests[0].parameters["traceparent"].string_param == traceparent
    assert "traceparent" not in triton.requests[1].parameters


async def test_counts_come_from_what_triton_says() -> None:
    events = await asked_of(
        Triton(
            [
                outputs_of(
                    {"text_output": "一二", "num_output_tokens": 2, "num_input_tokens": 7, "finish_reason": "None"}
                ),
                outputs_of({"text_output": "三", "num_output_tokens": 1, "finish_reason": "stop"}),
            ]
        )
    )
    chunks = [event for event in events if isinstance(event, TokenChunk)]  # what arrives together is one
    assert ("".join(chunk.text for chunk in chunks), sum(chunk.token_count for chunk in chunks)) == ("一二三", 3)
    assert events[-1] == Finished(FinishReason.EOS, Usage(7, 3))


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("[request id: r] Exceeds maximum queue size", OverloadedError),
        ("Request timeout expired", BackendTimeoutError),
        ("Stub process 'faq_0_0' is not healthy.", BackendUnavailableError),
        ("Request for unknown model: 'faq' is not found", BackendUnavailableError),
        ("something new", BackendError),
    ],
)
async def test_tritons_own_words_say_whether_another_node_may_help(words: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        await asked_of(Triton([pb.ModelStreamInferResponse(error_message=words)]))
    assert type(caught.value) is kind
    assert "faq" not in str(caught.value)


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_lost_connection_is_unavailable(is_late: bool) -> None:
    with pytest.raises(BackendUnavailableError):
        await asked_of(Triton([TokenChunk("一"), CUT] if is_late else [CUT]))


@pytest.mark.parametrize(
    "garbage", [{"text_output": "a", "finish_reason": "tired"}, {"tokens": "{"}, {"tokens": '[{"id":"x"}]'}]
)
async def test_what_is_not_the_protocol_is_an_error(garbage: dict[str, Any]) -> None:
    with pytest.raises(BackendError):
        await asked_of(Triton([outputs_of(garbage), DONE]))


async def test_a_node_that_cannot_generate_is_not_ready_whatever_it_says() -> None:
    triton = Triton([pb.ModelStreamInferResponse(error_message="Stub process is not healthy")])
    async with serving(triton) as address:
        backend = GrpcNode("gpu", address, "tiny")
        assert not await backend.ready()
        assert len(triton.requests) == 1

        triton.script = [TokenChunk("1"), DONE]
        assert await backend.ready()
        assert await backend.ready()  # tokens came just now: no further canary
        assert len(triton.requests) == 2
        await backend.aclose()


async def test_a_node_that_is_not_there_is_not_ready_and_unavailable() -> None:
    backend = GrpcNode("nobody", "127.0.0.1:9", "tiny")

    assert not await backend.ready()
    with pytest.raises(NodeUnreachableError):
        async with aclosing(backend.generate(ASKED, timeout_s=5)) as events:
            await anext(events)
    await backend.aclose()


@pytest.mark.parametrize(
    ("backend", "parameters", "flavour"),
    [("vllm", {}, None), ("weir", {}, ""), ("weir", {"flavour": "cuda-int4"}, "cuda-int4")],
)
async def test_a_models_configuration_says_its_flavour_and_an_answer_its_version(
    backend: str, parameters: dict[str, str], flavour: str | None
) -> None:
    said = outputs_of({"text_output": "x", "num_output_tokens": 1})
    said.infer_response.model_version = "3"
    triton = Triton([said, DONE])
    triton.backend, triton.parameters = backend, parameters
    async with serving(triton) as address:
        node = GrpcNode("gpu", address, "tiny")
        assert await node.ready()
        assert (node.report.version, node.report.flavour) == (3, flavour)
        await node.aclose()


async def test_what_answers_for_a_further_model_says_nothing_of_the_nodes_own() -> None:
    triton = Triton()
    async with serving(triton) as address:
        node = GrpcNode("gpu", address, "tiny", others=("big",))
        for model, version in (("tiny", "3"), ("big", "7")):
            said = outputs_of({"text_output": "x", "num_output_tokens": 1})
            said.infer_response.model_name, said.infer_response.model_version = model, version
            triton.script = [said, DONE]
            async with aclosing(node.generate(GenerateRequest(id="r", prompt="?", model=model), timeout_s=5)) as events:
                async for _ in events:
                    pass
        assert node.report.version == 3
        assert node.report.versions == {"big": 7}
        await node.aclose()


async def test_each_models_configuration_says_its_flavour_and_one_without_is_not_served() -> None:
    triton = Triton([outputs_of({"text_output": "x", "num_output_tokens": 1}), DONE])
    triton.parameters, triton.lacks = {"flavour": "cuda-int4"}, {"later"}
    async with serving(triton) as address:
        node = GrpcNode("gpu", address, "tiny", others=("big", "later"))
        assert await node.ready()
        assert node.report.others == {"big": "cuda-int4"}
        triton.lacks = set()
        assert await node.ready()  # busy: no canary is asked for
        assert node.report.others == {"big": "cuda-int4", "later": "cuda-int4"}
        await node.aclose()


async def test_a_node_without_the_first_model_is_ready_for_the_others_and_says_so() -> None:
    triton = Triton([outputs_of({"text_output": "x", "num_output_tokens": 1}), DONE])
    triton.parameters, triton.lacks = {"flavour": "cuda-int4"}, {"tiny"}
    async with serving(triton) as address:
        node = GrpcNode("gpu", address, "tiny", others=("missing", "big"))
        triton.lacks = {"tiny", "missing"}
        assert await node.ready()
        assert [asked.model_name for asked in triton.requests] == ["big"]  # the canary
        assert not node.report.serves_first
        assert node.report.others == {"big": "cuda-int4"}

        triton.lacks = {"missing"}
        assert await node.ready()  # busy: no canary is asked for
        assert node.report.serves_first
        triton.lacks = {"tiny", "missing", "big"}
        alone = GrpcNode("gpu", address, "tiny", others=("missing", "big"))
        assert not await alone.ready()
        await node.aclose()
        await alone.aclose()


async def test_a_canary_that_gets_no_answer_in_time_is_a_silence_and_not_a_no(monkeypatch) -> None:
    monkeypatch.setattr("weir.backends.grpc_node._PROBE_TIMEOUT_S", 0.1)
    async with serving(Triton([5.0, DONE])) as address:
        node = GrpcNode("gpu", address, "tiny")
        with pytest.raises(BackendTimeoutError):
            await node.ready()
        await node.aclose()


async def test_a_silent_node_that_turns_out_to_be_gone_is_not_ready(monkeypatch) -> None:
    """A refused connection ends the silence, and is no sign of life."""

    class EndedSilence(Pulse):
        is_silent = property(lambda self: True)

        def start(self) -> None: ...

        async def heard_within(self, seconds: float) -> bool:
            return True

    monkeypatch.setattr("weir.backends.grpc_node.Pulse", EndedSilence)
    node = GrpcNode("gone", "127.0.0.1:9", "tiny")
    assert not await node.ready()
    await node.aclose()


async def test_load_comes_from_tritons_metrics_where_weirs_model_publishes_it() -> None:
    text = b"""# TYPE weir_triton_queue_depth gauge
weir_triton_queue_depth{model="tiny",version="1"} 2
weir_triton_queue_depth{model="other",version="1"} 40
weir_triton_running{model="tiny",version="1"} 3
nv_inference_request_success{model="tiny",version="1"} 9
"""

    async def metrics(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        assert scope["path"] == "/metrics"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
        await send({"type": "http.response.body", "body": text})

    with running(metrics) as port:
        async with serving(Triton([DONE])) as address:
            node = GrpcNode("gpu", address, "tiny", gauges=Gauges(f"http://127.0.0.1:{port}"))
            assert await node.ready()
            assert node.report.present == 5
            await node.aclose()
            silent = GrpcNode("gpu", address, "tiny", gauges=Gauges("http://127.0.0.1:1"))
            assert await silent.ready()
            assert silent.report.present is None
            await silent.aclose()
