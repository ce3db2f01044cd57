"""What servers that came before got wrong for their clients, one test each, on the wire.

The clients' own suites meet them as well; here each has its name.
"""

import json
from typing import Any

import pytest
from tests.e2e.clients.conftest import Gateways
from tests.e2e.clients.environments import ENVIRONMENTS
from tests.e2e.clients.test_clients import SUITES
from tests.support.processes import Answer, Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
QUESTION = "How do I return an order?"
MESSAGES = [{"role": "user", "content": QUESTION}]
SHORT = {"max_new_tokens": 6}
SCHEMA = {
    "type": "object",
    "properties": {"size": {"enum": ["small", "large"]}},
    "required": ["size"],
    "additionalProperties": False,
}


@pytest.fixture
def real(gateways: Gateways) -> Server:
    return gateways.servers["real"]


@pytest.fixture
def scripted(gateways: Gateways) -> Server:
    server = gateways.servers["scripted"]
    server.wait_ready(30)
    return server


def play(*texts: str, **more: Any) -> str:
    return "play:" + json.dumps({"texts": texts or ("ok",), **more})


def generated(answer: Answer) -> str:
    assert answer.status == 200, answer
    return str(answer.json["generated_text"])


def events(answer: Answer) -> list[Any]:
    lines = [line[5:].strip() for line in answer.body.split(b"\n") if line.startswith(b"data:")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def test_the_root_path_takes_generations(real: Server) -> None:
    assert real.ask("POST", "/", {"inputs": QUESTION, "parameters": SHORT}).status == 200


def test_the_root_answers_an_array_of_one_and_generate_an_object(real: Server) -> None:
    body = {"inputs": QUESTION, "parameters": SHORT}
    root, generate = real.ask("POST", "/", body).json, real.ask("POST", "/generate", body).json
    assert root == [generate]


def test_null_parameters_are_as_good_as_none(real: Server) -> None:
    names = "adapter_id best_of do_sample frequency_penalty grammar repetition_penalty return_full_text seed stop"
    names += " temperature top_k top_n_tokens top_p truncate typical_p watermark decoder_input_details details"
    nulls = dict.fromkeys(names.split()) | SHORT
    plain = generated(real.ask("POST", "/generate", {"inputs": QUESTION, "parameters": SHORT}))
    assert generated(real.ask("POST", "/generate", {"inputs": QUESTION, "parameters": nulls})) == plain
    assert real.ask("POST", "/generate", {"inputs": QUESTION, "parameters": None, "stream": None}).status == 200


def test_sampling_parameters_beside_do_sample_false_are_ignored(real: Server) -> None:
    sent = {"do_sample": False, "temperature": 0.8, "top_p": 0.95, "typical_p": 0.95, "watermark": False, "stop": []}
    plain = generated(real.ask("POST", "/generate", {"inputs": QUESTION, "parameters": SHORT}))
    assert generated(real.ask("POST", "/generate", {"inputs": QUESTION, "parameters": SHORT | sent})) == plain


@pytest.mark.parametrize("name", ["dummy", "tgi", "", None, "http://127.0.0.1:8080"])
def test_names_that_clients_make_up_mean_the_default_model(real: Server, name: str | None) -> None:
    answer = real.ask("POST", "/v1/chat/completions", {"model": name, "messages": MESSAGES, "max_tokens": 4})
    assert answer.status == 200
    assert answer.json["model"] == "faq"


def test_a_schema_may_come_as_json_object_and_value(real: Server) -> None:
    form = {"type": "json_object", "value": SCHEMA}
    body = {"messages": MESSAGES, "max_tokens": 300, "response_format": form}
    said = real.ask("POST", "/v1/chat/completions", body).json["choices"][0]["message"]["content"]
    assert json.loads(said)["size"] in {"small", "large"}


def test_embeddings_in_base64_are_refused_in_words_where_no_release_serves_any(real: Server) -> None:
    answer = real.ask("POST", "/v1/embeddings", {"model": "faq", "input": "a", "encoding_format": "base64"})
    assert answer.status in {400, 404}
    assert answer.json["error"]["message"]


def test_a_list_of_prompts_is_a_list_of_answers(real: Server) -> None:
    body = {"model": "faq", "prompt": [QUESTION, "When?"], "max_tokens": 4, "logprobs": None, "seed": None, "n": 1}
    assert [choice["index"] for choice in real.ask("POST", "/v1/completions", body).json["choices"]] == [0, 1]


def test_an_error_is_a_string_for_tgi_and_an_object_for_openai(real: Server) -> None:
    tgi = real.ask("POST", "/", {"inputs": ""}).json
    openai = real.ask("POST", "/v1/chat/completions", {"messages": []}).json
    assert isinstance(tgi["error"], str)
    assert tgi["error_type"] == "validation"
    assert {"message", "type", "param", "code"} <= set(openai["error"])


@pytest.mark.parametrize("path", ["/", "/generate", "/generate_stream"])
def test_a_wrong_request_is_422_for_tgi_never_400(real: Server, path: str) -> None:
    """huggingface_hub takes a 400 for another kind of server, and asks again with less."""
    for wrong in ({"inputs": ""}, {"inputs": 7}, {}, {"inputs": "a", "parameters": {"max_new_tokens": -1}}, b"no"):
        assert real.ask("POST", path, wrong).status == 422


def test_a_finish_reason_is_never_empty(real: Server, scripted: Server) -> None:
    for server, prompt in ((real, QUESTION), (scripted, play("a", "b")), (scripted, play(reason="stop_sequence"))):
        body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 4, "stream": True}
        reasons = [e["choices"][0]["finish_reason"] for e in events(server.ask("POST", "/v1/chat/completions", body))]
        assert reasons[-1] in {"stop", "length"}
        assert set(reasons[:-1]) == {None}


def test_the_usage_chunk_has_no_choices(real: Server) -> None:
    body = {"messages": MESSAGES, "max_tokens": 4, "stream": True, "stream_options": {"include_usage": True}}
    last = events(real.ask("POST", "/v1/chat/completions", body))[-1]
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] > 0


def test_each_api_has_its_own_data_line(real: Server) -> None:
    """TGI writes no blank after `data:` and no `[DONE]`; OpenAI writes both."""
    tgi = real.ask("POST", "/generate_stream", {"inputs": QUESTION, "parameters": SHORT}).body
    openai = real.ask("POST", "/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 4, "stream": True}).body
    assert tgi.startswith(b"data:{")
    assert b"[DONE]" not in tgi
    assert openai.startswith(b"data: {")
    assert openai.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("path", ["/generate_stream", "/v1/chat/completions"])
def test_a_stream_that_breaks_says_so_after_its_200(scripted: Server, path: str) -> None:
    prompt = play("one", " two", " three", pace_s=0.1, fails="cut")
    body = {"inputs": prompt, "messages": [{"role": "user", "content": prompt}], "stream": True}
    answer = scripted.ask("POST", path, body)
    assert answer.status == 200
    assert events(answer)[-1]["error"]
    assert b"[DONE]" not in answer.body


def test_a_client_that_sends_no_authorization_is_served_only_where_no_keys_are(
    real: Server, gateways: Gateways
) -> None:
    """langchain-huggingface sends none, even when it was given a token."""
    body = {"inputs": QUESTION, "parameters": SHORT}
    assert real.ask("POST", "/", body).status == 200
    assert gateways.servers["keyed"].ask("POST", "/", body).status == 401


def test_the_hub_client_before_and_after_its_first_major_version_each_have_an_environment() -> None:
    pins = {one.name: one.pins.read_text() for one in ENVIRONMENTS}
    assert "huggingface_hub==2.4.0" in pins["hub"]
    assert "huggingface_hub==0.36.2" in pins["hub-0"]
    assert {suite.environment for suite in SUITES if suite.file == "test_hub.py"} == {"hub", "hub-0"}
