"""The traps of TGI's clients, each with its name."""

from collections.abc import Iterator

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import GenerationError, OverloadedError, ValidationError
from tests.support.gateway import Gateway, Stage, answer, gateway
from tests.support.prompt_release import make_prompt_release
from tests.support.surfaces import ask

from weir.contracts import errors


@pytest.fixture(scope="module")
def weir(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    release = make_prompt_release(tmp_path_factory.mktemp("releases"), adapters=["shop"])
    with gateway(release, stage.backend, max_body_bytes=1 << 17) as running:
        yield running


@pytest.fixture(autouse=True)
def a_node_that_is_well(weir: Gateway, stage: Stage) -> None:
    weir.forgive()
    stage.script = answer("好")
    stage.backend.calls.clear()


@pytest.fixture
def client(weir: Gateway) -> InferenceClient:
    return InferenceClient(weir.url, timeout=10)


def test_trap_clients_post_to_the_root(client: InferenceClient, weir: Gateway) -> None:
    before = weir.metric("requests_total", route="/", model="faq", backend="cpu", code="200")

    assert client.text_generation("?") == "好"
    assert weir.metric("requests_total", route="/", model="faq", backend="cpu", code="200") == before + 1


def test_trap_a_url_that_ends_in_generate_works_too(weir: Gateway) -> None:
    assert InferenceClient(f"{weir.url}/generate", timeout=10).text_generation("?") == "好"


def test_trap_langchain_sends_sampling_without_do_sample_and_no_key(weir: Gateway, stage: Stage) -> None:
    parameters = {
        "do_sample": False,
        "temperature": 0.8,
        "top_p": 0.95,
        "typical_p": 0.95,
        "watermark": False,
        "return_full_text": False,
        "stop": [],
        "top_k": None,
    }

    assert ask(weir, "/", **parameters) == [{"generated_text": "好"}]
    assert stage.asked.sampling.is_greedy


def test_trap_a_request_is_never_refused_with_400_which_hub_takes_for_another_server(weir: Gateway) -> None:
    for body in (b"{", {"inputs": ""}, {"inputs": 1}, {"inputs": "?", "parameters": {"watermark": True}}):
        assert weir.post("/", body).status == 422


def test_trap_errors_are_strings_with_a_type(weir: Gateway) -> None:
    reply = weir.post("/", {"inputs": ""})

    assert reply.json == {"error": "`inputs` cannot be empty", "error_type": "validation"}


def test_trap_an_early_failure_of_a_stream_keeps_its_status_and_its_type_for_clients(
    client: InferenceClient, stage: Stage, weir: Gateway
) -> None:
    with pytest.raises(ValidationError, match="decoder_input_details"):
        list(client.text_generation("?", stream=True, details=True, decoder_input_details=True))
    for failure, expected in (
        (errors.OverloadedError(45), OverloadedError),
        (errors.BackendUnavailableError("gone"), OverloadedError),
        (errors.BackendError("odd"), GenerationError),
    ):
        weir.forgive()
        stage.script = (failure,)
        with pytest.raises(expected):
            list(client.text_generation("?", stream=True))


def test_trap_events_have_no_space_after_data_and_no_done(weir: Gateway) -> None:
    body = weir.post("/generate_stream", {"inputs": "?"}).body

    assert body.startswith(b'data:{"')
    assert b"data: " not in body
    assert b"[DONE]" not in body


def test_trap_the_stream_has_tgis_headers(weir: Gateway) -> None:
    headers = weir.post("/generate_stream", {"inputs": "退货？"}).headers

    assert headers["x-compute-type"] == "cpu"
    assert headers["x-compute-characters"] == "3"
    assert headers["x-accel-buffering"] == "no"
