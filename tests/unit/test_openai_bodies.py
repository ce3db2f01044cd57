"""Whatever JSON comes on OpenAI's routes, it is read or refused; nothing else happens."""

from http import HTTPStatus
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.contracts.errors import WeirError
from weir.gateway.generation import RequestContext
from weir.gateway.surfaces.openai import ChatSurface
from weir.gateway.surfaces.openai_completions import CompletionSurface
from weir.gateway.surfaces.openai_errors import error_object, status_of
from weir.gateway.surfaces.openai_responses import ResponsesSurface

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["text", "json_object", "json_schema", "function", "required", "auto", "user", "tool", "message"]),
)
KEYS = st.sampled_from(
    [
        "type",
        "function",
        "name",
        "arguments",
        "parameters",
        "schema",
        "json_schema",
        "value",
        "role",
        "content",
        "id",
        "json",
        "regex",
        "choice",
        "text",
        "format",
        "tool_calls",
        "tool_call_id",
        "include_usage",
        "5",
    ]
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
SURFACES: dict[str, tuple[Any, dict[str, Any]]] = {
    "chat": (ChatSurface(), {"messages": [{"role": "user", "content": "?"}]}),
    "completions": (CompletionSurface(), {"prompt": "?"}),
    "responses": (ResponsesSurface(), {"input": "?"}),
}


@pytest.mark.parametrize("name", sorted(SURFACES))
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_values_are_read_or_refused(name: str, data: st.DataObject) -> None:
    surface, least = SURFACES[name]
    fields = st.sampled_from(sorted(surface.body_model.model_fields))
    body = least | data.draw(st.dictionaries(fields, VALUES, max_size=4))
    raw = orjson.dumps(body) if _fits(body) else b"{}"

    job, refusal = parsed(surface, raw)

    if refusal is not None:
        assert status_of(refusal) in {400, 404, 422}
        assert set(error_object(refusal)["error"]) == {"message", "type", "param", "code"}
    else:
        assert 1 <= len(job.asks) <= 64
        assert len({ask.request.id for ask in job.asks}) == len(job.asks)


def parsed(surface: Any, raw: bytes) -> tuple[Any, WeirError | None]:
    try:
        return surface.parse(raw, RequestContext("i")), None
    except WeirError as error:
        return None, error


def _fits(value: Any) -> bool:
    """Whether orjson writes it: integers of 64 bits, no lone surrogates."""
    try:
        orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        return False
    return True


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "invalid_request_error"),
        (403, "invalid_request_error"),
        (404, "invalid_request_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (503, "server_error"),
    ],
)
def test_a_failure_of_any_other_part_is_put_by_its_status(status: int, kind: str) -> None:
    class OthersError(WeirError):
        code = "of_another_part"

    OthersError.status = HTTPStatus(status)
    body = error_object(OthersError("no"))["error"]

    assert status_of(OthersError("no")) == status
    assert (body["type"], body["code"]) == (kind, "of_another_part")
