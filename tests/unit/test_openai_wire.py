"""OpenAI's bodies: what is read from them, and what is refused."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.contracts.errors import (
    PromptBlockedError,
    RequestRejectedError,
    UnknownModelError,
    ValidationError,
    WeirError,
)
from weir.contracts.request import Message
from weir.gateway.generation import RequestContext
from weir.gateway.refusals import UnsupportedError
from weir.gateway.surfaces.openai import ChatSurface

SURFACE = ChatSurface()
CALL = {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ARGUMENTS = "messages.0.tool_calls.0.function.arguments"
TOOL = {"type": "function", "function": {"name": "f"}}
USER = {"role": "user", "content": "?"}


def parse(**fields: object) -> object:
    return SURFACE.parse(orjson.dumps({"messages": [USER]} | fields), RequestContext("i"))


def test_nulls_are_defaults() -> None:
    names = "model stream stream_options max_tokens temperature top_p seed stop n tools response_format logprobs"
    job = SURFACE.parse(orjson.dumps({"messages": [USER]} | dict.fromkeys(names.split())), RequestContext("i"))

    assert job.asks[0].request.sampling.is_greedy
    assert job.asks[0].request.messages == (Message(role="user", content="?"),)
    assert not job.is_stream


def test_max_completion_tokens_beats_max_tokens() -> None:
    job = SURFACE.parse(
        orjson.dumps({"messages": [USER], "max_tokens": 5, "max_completion_tokens": 7}), RequestContext("i")
    )

    assert job.asks[0].request.sampling.max_new_tokens == 7


@pytest.mark.parametrize("fields", [{"tools": []}, {"n": 1}, {"response_format": {"type": "text"}}, {"logit_bias": {}}])
def test_features_that_are_switched_off_are_fine(fields: dict[str, object]) -> None:
    parse(**fields)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "user", "content": "?", "tool_calls": [CALL]}, "messages.0.tool_calls"),
        ({"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f", "arguments": "[]"}}]}, ARGUMENTS),
        ({"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f", "arguments": "{"}}]}, ARGUMENTS),
        ({"role": "tool", "content": "42"}, "messages.0"),
    ],
)
def test_tool_turns_that_make_no_sense_are_refused(message: object, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(messages=[message])

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tools": [TOOL, TOOL]}, "tools"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice.function.name",
        ),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [TOOL], "tool_choice": "required", "guided_regex": "a"}, "response_format"),
    ],
)
def test_tools_that_make_no_sense_are_refused(fields: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(**fields)

    assert caught.value.field == field


@given(st.integers(-(2**63), 2**64 - 1), st.integers(1, 4))
def test_any_seed_of_a_client_gives_distinct_seeds_in_bounds(seed: int, count: int) -> None:
    job = SURFACE.parse(orjson.dumps({"messages": [USER], "seed": seed, "n": count}), RequestContext("i"))

    seeds = [ask.request.sampling.seed for ask in job.asks]
    assert len(set(seeds)) == count
    assert all(own is not None and 0 <= own < 2**64 for own in seeds)


@pytest.mark.parametrize(
    ("error", "status", "code", "kind"),
    [
        (PromptBlockedError("r"), 422, "content_filter", "invalid_request_error"),
        (UnknownModelError("no"), 404, "model_not_found", "invalid_request_error"),
        (UnsupportedError("n"), 400, "unsupported", "invalid_request_error"),
        (WeirError("internal error"), 500, "internal", "server_error"),
    ],
)
def test_errors_have_openais_form(error: WeirError, status: int, code: str, kind: str) -> None:
    reply = SURFACE.error(error)

    assert reply.status == status
    body = orjson.loads(reply.body)["error"]
    assert set(body) == {"message", "type", "param", "code"}
    assert (body["code"], body["type"]) == (code, kind)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    with pytest.raises(RequestRejectedError):
        SURFACE.parse(body, RequestContext("i"))


def test_a_wrong_key_of_the_callers_own_is_not_repeated_to_him() -> None:
    with pytest.raises(ValidationError) as refused:
        parse(logit_bias={"something private": 1})

    assert refused.value.field == "logit_bias"
    assert "private" not in str(refused.value)
