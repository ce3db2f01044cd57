"""TGI's bodies: what is read from them, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.asgi.body import BodyTooLargeError
from weir.contracts.errors import RequestRejectedError, ValidationError, WeirError
from weir.gateway.generation import RequestContext
from weir.gateway.refusals import UnreadableBodyError, UnsupportedError
from weir.gateway.surfaces.tgi import TgiSurface

SURFACE = TgiSurface("/generate")


def test_langchains_body_is_greedy() -> None:
    job = SURFACE.parse(
        b'{"inputs":"?","parameters":{"do_sample":false,"temperature":0.8,"top_k":10,"top_p":0.95,"typical_p":0.95,'
        b'"repetition_penalty":null,"return_full_text":false,"truncate":null,"stop":[],"seed":null,"watermark":false,'
        b'"max_new_tokens":512},"stream":false}',
        RequestContext("id-1"),
    )

    assert job.asks[0].request.sampling.is_greedy
    assert job.asks[0].request.sampling.max_new_tokens == 512
    assert job.asks[0].request.id == "id-1"
    assert job.asks[0].route == "/generate"
    assert not job.is_stream


def test_tokens_are_asked_of_the_node_only_when_they_are_shown() -> None:
    assert not SURFACE.parse(b'{"inputs":"?"}', RequestContext("i")).asks[0].request.return_tokens
    assert SURFACE.parse(b'{"inputs":"?","stream":true}', RequestContext("i")).asks[0].request.return_tokens
    assert (
        SURFACE.parse(b'{"inputs":"?","parameters":{"details":true}}', RequestContext("i"))
        .asks[0]
        .request.return_tokens
    )


def test_empty_stop_strings_are_dropped() -> None:
    assert SURFACE.parse(b'{"inputs":"?","parameters":{"stop":["","a"]}}', RequestContext("i")).asks[
        0
    ].request.sampling.stop == ("a",)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"inputs":"\\ud83d"}', UnreadableBodyError),
        (b'{"inputs":"?","parameters":{"top_p":Infinity}}', UnreadableBodyError),
        (b'{"inputs":"?","parameters":{"seed":-1}}', ValidationError),
        (b'{"inputs":"?","parameters":{"seed":18446744073709551616}}', ValidationError),
        (b'{"inputs":"?","parameters":{"stop":["' + b"x" * 300 + b'"]}}', ValidationError),
        (b'{"inputs":"?","parameters":{"frequency_penalty":2.1}}', ValidationError),
        (b'{"inputs":"?","parameters":{"watermark":true}}', UnsupportedError),
    ],
)
def test_what_is_refused(body: bytes, kind: type[WeirError]) -> None:
    with pytest.raises(kind):
        SURFACE.parse(body, RequestContext("i"))


def test_a_refusal_never_quotes_the_body() -> None:
    with pytest.raises(ValidationError) as caught:
        SURFACE.parse(b'{"inputs":{"secret":"words"}}', RequestContext("i"))
    assert "secret" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda t: b'{"inputs":"' + t.encode() + b'"}'))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    try:
        job = SURFACE.parse(body, RequestContext("i"))
    except RequestRejectedError as error:
        job, status = None, SURFACE.error(error).status
    else:
        status = 200

    assert status == (422 if job is None else 200)


def test_statuses_are_tgis() -> None:
    assert SURFACE.error(BodyTooLargeError(5)).status == 413
    assert SURFACE.error(WeirError("internal error")).status == 500


def test_parameters_that_were_asked_for_before_mean_the_same_again() -> None:
    body = b'{"inputs":"?","parameters":{"max_new_tokens":7,"top_p":0.5,"do_sample":true}}'
    first, second = (SURFACE.parse(body, RequestContext("i")).asks[0].request.sampling for _ in range(2))

    assert (first.max_new_tokens, first.top_p) == (second.max_new_tokens, second.top_p) == (7, 0.5)
    assert first.seed != second.seed


def test_wrong_parameters_are_named_however_often_they_come() -> None:
    for _ in range(2):
        with pytest.raises(ValidationError) as caught:
            SURFACE.parse(b'{"inputs":"?","parameters":{"top_n_tokens":-1}}', RequestContext("i"))
        assert caught.value.field == "parameters.top_n_tokens"
