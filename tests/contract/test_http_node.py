"""What a gateway sends to a node."""

import json
from contextlib import aclosing

from tests.support.gateway import running
from tests.support.oip_node import OipNode

from weir.backends.http_node import HttpNode
from weir.contracts.events import Finished, FinishReason, Usage
from weir.contracts.grammar import JsonObject, JsonSchema, OneOf, Regex
from weir.contracts.request import GenerateRequest, SamplingParams

DONE = Finished(FinishReason.EOS, Usage(5, 1))
GRAMMARS = (JsonSchema(schema_text={"type": "null"}), JsonObject(), Regex(pattern="a"), OneOf(choices=("a",)))


async def send(backend: HttpNode, asked: GenerateRequest) -> None:
    async with aclosing(backend.generate(asked, timeout_s=5)) as events:
        assert [event async for event in events] == [Finished(FinishReason.EOS, Usage(5, 0))]


async def test_the_request_has_the_protocols_form() -> None:
    node = OipNode([DONE])
    with running(node) as port:
        backend = HttpNode("http", f"http://127.0.0.1:{port}/", "tiny")
        sampling = SamplingParams(max_new_tokens=9, temperature=0.5, top_k=3, seed=1, stop=("。",))
        asked = GenerateRequest(id="r2", model="faq", prompt="p", sampling=sampling)
        await send(backend, asked)
        await backend.aclose()

    assert node.paths == ["/v2/models/faq/generate_stream"]
    assert node.bodies == [
        {
            "id": "r2",
            "text_input": "p",
            "stream": True,
            "sampling_parameters": {
                "max_tokens": 9,
                "temperature": 0.5,
                "top_p": 1.0,
                "top_k": 3,
                "repetition_penalty": 1.0,
                "seed": 1,
                "stop": ["。"],
                "ignore_eos": False,
            },
            "exclude_input_in_output": True,
            "return_finish_reason": True,
            "return_num_input_tokens": True,
            "return_num_output_tokens": True,
            "return_tokens": False,
        }
    ]


async def test_a_tokenised_prompt_is_sent_beside_its_text() -> None:
    node = OipNode([DONE])
    with running(node) as port:
        backend = HttpNode("http", f"http://127.0.0.1:{port}/", "tiny")
        sampling = SamplingParams(max_new_tokens=1)
        await send(backend, GenerateRequest(id="r", prompt="ab", prompt_ids=(4, 5), sampling=sampling))
        await backend.aclose()

    assert (node.bodies[0]["text_input"], node.bodies[0]["prompt_token_ids"]) == ("ab", [4, 5])


async def test_what_was_set_is_sent_in_the_protocols_names_and_nothing_else() -> None:
    node = OipNode([DONE])
    with running(node) as port:
        backend = HttpNode("http", f"http://127.0.0.1:{port}/", "tiny")
        sampling = SamplingParams(
            max_new_tokens=9, min_new_tokens=2, min_p=0.1, logprobs=3, logit_bias={5: -100}, stop_token_ids=(4,)
        )
        asked = GenerateRequest(id="r", prompt="p", sampling=sampling, priority=2, deadline_s=9.5, cache_salt="s")
        await send(backend, asked)
        for grammar in (
            JsonSchema(schema_text={"type": "null"}),
            JsonObject(),
            Regex(pattern="a"),
            OneOf(choices=("a",)),
        ):
            held = SamplingParams(max_new_tokens=1, grammar=grammar)
            await send(backend, GenerateRequest(id="r", prompt="p", sampling=held))
        await backend.aclose()

    usual = {"temperature", "top_p", "top_k", "repetition_penalty", "stop", "ignore_eos"}
    bodies = [body["sampling_parameters"] for body in node.bodies]
    rest = [{name: value for name, value in body.items() if name not in usual} for body in bodies]
    assert {name: node.bodies[0][name] for name in ("priority", "deadline_s", "cache_salt")} == {
        "priority": 2,
        "deadline_s": 9.5,
        "cache_salt": "s",
    }
    assert rest[0] == {
        "max_tokens": 9,
        "min_tokens": 2,
        "min_p": 0.1,
        "logprobs": 3,
        "logit_bias": {"5": -100.0},
        "stop_token_ids": [4],
    }
    assert [body["structured_outputs"] for body in rest[1:]] == [
        {"json": '{"type":"null"}'},
        {"json_object": True},
        {"regex": "a"},
        {"choice": ["a"]},
    ]


async def test_what_answers_for_a_further_model_says_nothing_of_the_nodes_own() -> None:
    """Or every answer of the one model would make the node another one for the other."""

    def said(version: str) -> list[bytes]:
        end = {"text_output": "", "finish_reason": "stop", "num_input_tokens": 1, "num_output_tokens": 0}
        return [b"data: " + json.dumps({"model_version": version, **end}).encode() + b"\n\n"]

    scripted = OipNode()
    with running(scripted) as port:
        node = HttpNode("cpu-0", f"http://127.0.0.1:{port}", "faq", others=("big",))
        for model, version in (("faq", "3"), ("big", "7"), (None, "4"), ("big", "8")):
            scripted.script = said(version)
            async with aclosing(node.generate(GenerateRequest(id="r", prompt="?", model=model), timeout_s=5)) as events:
                async for _ in events:
                    pass
        await node.aclose()

    assert node.report.version == 4
    assert node.report.versions == {"big": 8}
