"""huggingface_hub's `InferenceClient`: grammars, alternatives, details of the prompt."""

import json

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub import errors as hub_errors

QUESTION = "How do I return an order?"
SCHEMA = {
    "type": "object",
    "properties": {"size": {"enum": ["small", "large"]}, "in_stock": {"type": "boolean"}},
    "required": ["size", "in_stock"],
    "additionalProperties": False,
}


@pytest.fixture
def client(real):
    return InferenceClient(real.url)


def test_a_json_schema_that_the_client_rewrites_to_json_object_and_value(client):
    form = {"type": "json_schema", "json_schema": {"name": "shirt", "schema": SCHEMA}}
    said = client.chat_completion([{"role": "user", "content": QUESTION}], response_format=form, max_tokens=300)
    assert json.loads(said.choices[0].message.content)["size"] in {"small", "large"}


def test_both_forms_of_a_schema_on_the_wire(real):
    messages = [{"role": "user", "content": QUESTION}]
    forms = [
        {"type": "json_object", "value": SCHEMA},
        {"type": "json_schema", "json_schema": {"name": "shirt", "schema": SCHEMA}},
    ]
    replies = [
        real.post("/v1/chat/completions", {"messages": messages, "max_tokens": 300, "response_format": form})
        for form in forms
    ]
    assert [status for status, _ in replies] == [200, 200]
    said = [reply["choices"][0]["message"]["content"] for _, reply in replies]
    assert said[0] == said[1]
    assert json.loads(said[0])["size"] in {"small", "large"}


def test_grammars_of_text_generation(client):
    regex = client.text_generation(QUESTION, max_new_tokens=16, grammar={"type": "regex", "value": "[0-9]{3}-[ab]"})
    schema = client.text_generation(QUESTION, max_new_tokens=300, grammar={"type": "json", "value": SCHEMA})
    assert len(regex) == 5
    assert regex[3] == "-"
    assert json.loads(schema)["size"] in {"small", "large"}


def test_alternatives_of_each_token(client):
    said = client.text_generation(QUESTION, max_new_tokens=4, details=True, top_n_tokens=3)
    assert [len(tops) for tops in said.details.top_tokens] == [3, 3, 3, 3]
    for token, tops in zip(said.details.tokens, said.details.top_tokens, strict=True):
        assert token.id in {top["id"] for top in tops}


def test_the_prompts_own_tokens(client):
    said = client.text_generation(QUESTION, max_new_tokens=2, details=True, decoder_input_details=True)
    assert said.details.prefill[0].logprob is None
    assert all(token.logprob <= 0 for token in said.details.prefill[1:])
    assert QUESTION in "".join(token.text for token in said.details.prefill)


def test_the_best_of_several(client):
    ask = {"max_new_tokens": 6, "do_sample": True, "temperature": 1.2, "details": True}
    said = client.text_generation(QUESTION, best_of=3, **ask)
    assert len(said.details.best_of_sequences) == 2


def test_the_end_of_a_prompt_can_be_kept(client, real):
    _, all_of_it = real.post("/tokenize", {"inputs": QUESTION})
    assert client.text_generation(QUESTION, max_new_tokens=4, truncate=len(all_of_it) // 2)


def test_what_tgi_refuses_is_refused_the_same_way(client):
    for wrong in ({"best_of": 0}, {"top_n_tokens": 99}, {"grammar": {"type": "regex", "value": "("}}):
        with pytest.raises(hub_errors.ValidationError):
            client.text_generation(QUESTION, max_new_tokens=4, **wrong)
