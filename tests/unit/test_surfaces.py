"""Whatever a body says, a surface reads it or refuses it in its own form; it never stumbles."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.contracts.errors import WeirError
from weir.gateway.documents import BY_PATH
from weir.gateway.generation import RequestContext
from weir.gateway.routes import SURFACES
from weir.gateway.surfaces.base import Surface

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["json", "regex", "user", "a" * 70, "x.y", "../", 2**63, 2**64, -1, 0, 1e308, ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NESTED = {
    "parameters": ["grammar", "stop", "best_of", "seed", "adapter_id", "top_n_tokens", "do_sample", "temperature"],
    "grammar": ["type", "value"],
    "sampling_parameters": ["temperature", "stop", "logit_bias", "structured_outputs", "logprobs", "seed", "top_k"],
    "structured_outputs": ["json", "regex", "choice", "json_object"],
    "messages": ["role", "content"],
    "instances": ["inputs", "parameters"],
}
IN_LISTS = {"messages", "instances"}


def objects(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """One or two of the fields: with more of them wrong at once, the later ones would never be looked at."""
    chosen = st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)
    return chosen.flatmap(lambda given: st.fixed_dictionaries({name: value_of(name) for name in given}))


def value_of(name: str) -> st.SearchStrategy[Any]:
    """Anything, and more often what has the shape of the field."""
    if name not in NESTED:
        return JSON
    inner = objects(NESTED[name])
    return (st.lists(inner, max_size=2) if name in IN_LISTS else inner) | JSON


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.path)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_json_is_read_or_refused_in_the_surfaces_own_form(surface: Surface, data: st.DataObject) -> None:
    names = list(surface.body_model.model_fields)
    body = json.dumps(dict(BY_PATH[surface.path].example) | data.draw(objects(names))).encode()
    try:
        surface.parse(body, RequestContext("i"))
    except WeirError as error:
        reply = surface.error(error)
        BY_PATH[surface.path].error.model_validate_json(reply.body)
        assert reply.status in BY_PATH[surface.path].statuses
        assert reply.status < 500
