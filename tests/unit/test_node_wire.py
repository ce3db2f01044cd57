"""The node's wire form: what is read from a request, and what is refused and where."""

import json
from contextlib import suppress

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.contracts.errors import ValidationError
from weir.contracts.events import Finished, FinishReason, PromptToken, Token, TokenChunk, TopToken, Usage
from weir.contracts.grammar import JsonObject, JsonSchema, OneOf, Regex
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.oip.wire import AnswerWriter, parse_call

SCHEMA = {"type": "object", "properties": {"名": {"type": "string"}}}


def parse(sampling: object = None, **fields: object) -> GenerateRequest:
    body = {"text_input": "?", "sampling_parameters": sampling or {}} | fields
    return parse_call(orjson.dumps(body), "tiny").request


def test_a_prompt_may_come_tokenised_beside_its_text() -> None:
    assert parse(prompt_token_ids=[5, 6]).prompt_ids == (5, 6)
    assert parse(prompt_token_ids=None).prompt_ids == ()
    with pytest.raises(ValidationError) as caught:
        parse(prompt_token_ids=[5, -1])
    assert caught.value.field == "prompt_token_ids.1"


def test_every_sampling_parameter_has_its_name_in_vllm() -> None:
    given = {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.9,
        "min_p": 0.1,
        "typical_p": 0.8,
        "repetition_penalty": 1.1,
        "frequency_penalty": -2.0,
        "presence_penalty": 2,
        "logit_bias": {"7": -100, "8": 1.5},
        "seed": 5,
        "stop": ["。"],
        "stop_token_ids": [3],
        "min_tokens": 2,
        "ignore_eos": True,
        "logprobs": 5,
        "prompt_logprobs": 0,
        "structured_outputs": {"regex": "a+"},
    }
    assert parse(given | {"unknown": 1}).sampling == SamplingParams(
        max_new_tokens=9,
        temperature=0.5,
        top_k=3,
        top_p=0.9,
        min_p=0.1,
        typical_p=0.8,
        repetition_penalty=1.1,
        frequency_penalty=-2.0,
        presence_penalty=2.0,
        logit_bias=((7, -100.0), (8, 1.5)),
        seed=5,
        stop=("。",),
        stop_token_ids=(3,),
        min_new_tokens=2,
        ignore_eos=True,
        logprobs=5,
        prompt_logprobs=0,
        grammar=Regex(pattern="a+"),
    )
    assert set(SamplingParams.model_fields) - {"grammar"} <= {
        {"max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens"}.get(name, name) for name in given
    }


@pytest.mark.parametrize(
    ("given", "grammar"),
    [
        ({"structured_outputs": {"json": SCHEMA}}, JsonSchema(schema_text=SCHEMA)),
        ({"structured_outputs": {"json": json.dumps(SCHEMA)}}, JsonSchema(schema_text=json.dumps(SCHEMA))),
        ({"guided_json": SCHEMA}, JsonSchema(schema_text=SCHEMA)),
        ({"structured_outputs": {"json_object": True}}, JsonObject()),
        ({"structured_outputs": {"regex": "a", "json_object": False}}, Regex(pattern="a")),
        ({"guided_regex": "a"}, Regex(pattern="a")),
        ({"structured_outputs": {"choice": ["是", "否"], "json": None}}, OneOf(choices=("是", "否"))),
        ({"guided_choice": ["是"]}, OneOf(choices=("是",))),
        ({"structured_outputs": None}, None),
    ],
)
def test_a_grammar_is_asked_for_in_vllms_words(given: dict, grammar: object) -> None:
    assert parse(given).sampling.grammar == grammar


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"frequency_penalty": 2.1}, "frequency_penalty"),
        ({"presence_penalty": "much"}, "presence_penalty"),
        ({"min_p": -0.1}, "min_p"),
        ({"typical_p": 0}, "typical_p"),
        ({"logprobs": 21}, "logprobs"),
        ({"prompt_logprobs": "all"}, "prompt_logprobs"),
        ({"min_tokens": 4, "max_tokens": 3}, "min_tokens"),
        ({"logit_bias": [1, 2]}, "logit_bias.0"),
        ({"logit_bias": {"x": 1}}, "logit_bias.0.0"),
        ({"logit_bias": {"1": 101}}, "logit_bias.0.1"),
        ({"logit_bias": {"1": 1, "01": 2}}, "logit_bias"),
        ({"logit_bias": {str(i): 1 for i in range(1_025)}}, "logit_bias"),
        ({"stop_token_ids": [-1]}, "stop_token_ids.0"),
        ({"stop_token_ids": list(range(65))}, "stop_token_ids"),
        ({"structured_outputs": "json"}, "structured_outputs"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"grammar": "root ::= x"}}, "structured_outputs"),
        ({"structured_outputs": {"json_object": 1}}, "structured_outputs.json_object"),
        ({"structured_outputs": {"json": 3}}, "structured_outputs.json"),
        ({"structured_outputs": {"json": {"description": "x" * 70_000}}}, "structured_outputs.json"),
        ({"structured_outputs": {"regex": "a" * 9_000}}, "structured_outputs.regex"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs.choice"),
        ({"guided_regex": "a", "structured_outputs": {"json_object": True}}, "structured_outputs.json_object"),
        ({"guided_regex": 4}, "guided_regex"),
    ],
)
def test_what_is_wrong_is_named_and_what_was_given_is_not_repeated(given: dict, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(given)
    assert caught.value.field == f"sampling_parameters.{field}"
    assert str(caught.value).startswith(f"sampling_parameters.{field}: ")
    assert "much" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_priority_deadline_and_salt_stand_beside_the_text_or_in_the_parameters() -> None:
    asked = parse(priority=3, parameters={"deadline_s": 2.5, "cache_salt": "tenant"})
    assert (asked.priority, asked.deadline_s, asked.cache_salt) == (3, 2.5, "tenant")
    for name, wrong in (("priority", 11), ("deadline_s", 0), ("cache_salt", "x" * 129), ("priority", "high")):
        with pytest.raises(ValidationError) as caught:
            parse(**{name: wrong})
        assert caught.value.field == name


def read(**fields: object) -> SamplingParams:
    return parse_call(orjson.dumps({"text_input": "?"} | fields), "tiny").request.sampling


SAMPLED = {"max_tokens": 9, "temperature": 0.5, "stop": "。", "structured_outputs": {"regex": "a+"}, "top_k": -1}


@pytest.mark.parametrize(
    "fields",
    [
        SAMPLED,
        {"parameters": SAMPLED},
        {"sampling_parameters": SAMPLED},
        {"parameters": {"sampling_parameters": json.dumps(SAMPLED)}},
        SAMPLED | {"parameters": SAMPLED, "sampling_parameters": SAMPLED},
        {"max_tokens": 9, "parameters": SAMPLED | {"max_tokens": None}, "sampling_parameters": None},
        {
            "top_k": -1,
            "structured_outputs": {"regex": "a+"},
            "parameters": {"stop": "。", "temperature": 0.5, "max_tokens": 9},
        },
        {"temperature": 0.5, "sampling_parameters": {k: v for k, v in SAMPLED.items() if k != "temperature"}},
    ],
)
def test_sampling_parameters_may_stand_in_three_places(fields: dict) -> None:
    assert read(**fields) == read(sampling_parameters=SAMPLED)
    assert read(**fields).grammar == Regex(pattern="a+")


@pytest.mark.parametrize(
    ("fields", "field", "other"),
    [
        ({"max_tokens": 1, "parameters": {"max_tokens": 2}}, "max_tokens", "parameters.max_tokens"),
        ({"max_tokens": 1, "sampling_parameters": {"max_tokens": 2}}, "max_tokens", "sampling_parameters.max_tokens"),
        (
            {"parameters": {"stop": "a"}, "sampling_parameters": {"stop": "b"}},
            "parameters.stop",
            "sampling_parameters.stop",
        ),
        ({"stream": True, "parameters": {"stream": False}}, "parameters.stream", "stream"),
        ({"lora_name": "a", "parameters": {"lora_name": "b"}}, "parameters.lora_name", "lora_name"),
    ],
)
def test_two_values_for_one_key_are_refused_and_both_places_named(fields: dict, field: str, other: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(**fields)
    assert caught.value.field == field
    assert str(caught.value) == f"{field}: another value than that of {other}; give one of them"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"temperature": -1}, "temperature"),
        ({"parameters": {"temperature": -1}}, "parameters.temperature"),
        ({"top_p": 0.5, "parameters": {"temperature": -1}}, "parameters.temperature"),
        ({"top_p": 0.5, "sampling_parameters": {"temperature": -1}}, "sampling_parameters.temperature"),
        ({"top_p": 0.5, "sampling_parameters": {"logit_bias": {"x": 1}}}, "sampling_parameters.logit_bias.0.0"),
        ({"guided_regex": "a", "parameters": {"guided_choice": ["a"]}}, "parameters.guided_choice"),
        ({"guided_regex": 4}, "guided_regex"),
        ({"structured_outputs": {"regex": 4}}, "structured_outputs.regex"),
    ],
)
def test_what_is_wrong_is_named_where_it_stands(fields: dict, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(**fields)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = "max_tokens min_tokens logit_bias logprobs stop_token_ids structured_outputs guided_json min_p"
names = st.sampled_from(NAMES.split())


few = st.dictionaries(names, json_values, max_size=2)


@given(sampling=st.dictionaries(names, json_values, max_size=4), fields=few, beside=few)
@settings(max_examples=300, deadline=None)
def test_any_json_is_read_or_refused(sampling: dict, fields: dict, beside: dict) -> None:
    with suppress(ValidationError):
        assert parse(sampling, parameters=fields, **beside).prompt == "?"


def test_the_prompts_tokens_come_first_in_events_of_a_bounded_size() -> None:
    call = parse_call(b'{"text_input": "?", "sampling_parameters": {"prompt_logprobs": 1, "logprobs": 1}}', "tiny")
    top = (TopToken(2, "b", -0.5),)
    prompt = (PromptToken(0, "a", None), *(PromptToken(i, "a", -1.0, top) for i in range(1, 150)))
    chunk = TokenChunk("x", 1, (Token(5, "x", -0.1, top=top),), prompt)
    writer = AnswerWriter(call, "tiny", 1)
    events = [json.loads(event.removeprefix(b"data: ")) for event in writer.chunk(chunk).split(b"\n\n") if event]
    assert [len(event.get("prompt_tokens", ())) for event in events] == [64, 64, 22, 0]
    assert events[0]["prompt_tokens"][0] == {"id": 0, "text": "a", "logprob": None, "top": []}
    assert events[1]["prompt_tokens"][0]["top"] == [{"id": 2, "text": "b", "logprob": -0.5}]
    assert [event["num_output_tokens"] for event in events] == [0, 0, 0, 1]
    assert events[-1]["tokens"][0]["top"] == [{"id": 2, "text": "b", "logprob": -0.5}]
    whole = json.loads(writer.whole([chunk], Finished(FinishReason.EOS, Usage(150, 1))))
    assert len(whole["prompt_tokens"]) == 150
