"""openai 3.54.0 (Python): completions, several answers, log-probabilities, structured output, tools, responses."""

import json
import math

import openai
import pytest

QUESTION = "How do I return an order?"
MESSAGES = [{"role": "user", "content": QUESTION}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Oslo"]}, "days": {"enum": [1, 2, 3]}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"size": {"enum": ["small", "large"]}, "in_stock": {"type": "boolean"}},
    "required": ["size", "in_stock"],
    "additionalProperties": False,
}


@pytest.fixture
def client(real):
    with openai.OpenAI(base_url=real.v1, api_key="none") as client:
        yield client


@pytest.fixture
def stage(scripted):
    with openai.OpenAI(base_url=scripted.v1, api_key="none") as client:
        yield client


def chat(client, prompt=QUESTION, **more):
    messages = [{"role": "user", "content": prompt}]
    return client.chat.completions.create(**{"model": "tgi", "messages": messages, "max_tokens": 250, **more})


def complete(client, prompt=QUESTION, **more):
    return client.completions.create(**{"model": "tgi", "prompt": prompt, "max_tokens": 8, **more})


def test_a_completion_whole_and_streamed(client):
    whole = complete(client)
    chunks = list(complete(client, stream=True, stream_options={"include_usage": True}))
    assert whole.object == "text_completion"
    assert whole.usage == chunks[-1].usage
    assert 0 < whole.usage.completion_tokens <= 8
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert chunks[-1].choices == []


def test_a_list_of_prompts_is_answered_in_order(client):
    prompts = [QUESTION, "When will it arrive?", QUESTION]
    together = complete(client, prompts)
    alone = [complete(client, prompt).choices[0].text for prompt in prompts]
    assert [choice.index for choice in together.choices] == [0, 1, 2]
    assert [choice.text for choice in together.choices] == alone


def test_prompts_of_token_ids_are_the_same_as_their_text(client, real):
    _, reply = real.post("/tokenize", {"inputs": QUESTION})
    ids = [token["id"] for token in reply]
    assert complete(client, ids).choices[0].text == complete(client, QUESTION).choices[0].text
    assert [choice.text for choice in complete(client, [ids, ids]).choices] == 2 * [complete(client).choices[0].text]


def test_echo_gives_the_prompt_with_its_log_probabilities(client):
    said = complete(client, echo=True, logprobs=2, max_tokens=3).choices[0]
    logprobs = said.logprobs
    assert said.text.startswith(QUESTION)
    assert logprobs.token_logprobs[0] is None
    assert all(value <= 0 for value in logprobs.token_logprobs[1:])
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs)
    assert "".join(logprobs.tokens[:-3]) == QUESTION


def test_several_answers_differ_and_repeat_with_their_seed(client):
    ask = {"n": 3, "temperature": 1.4, "seed": 11, "max_tokens": 10}
    first, again = (chat(client, **ask) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert texts == [choice.message.content for choice in again.choices]
    assert first.usage.completion_tokens == 30


def test_several_answers_are_streamed_side_by_side(client):
    chunks = list(chat(client, n=2, temperature=1.4, seed=11, max_tokens=10, stream=True))
    whole = chat(client, n=2, temperature=1.4, seed=11, max_tokens=10)
    for index in (0, 1):
        mine = [chunk.choices[0] for chunk in chunks if chunk.choices and chunk.choices[0].index == index]
        assert "".join(choice.delta.content or "" for choice in mine) == whole.choices[index].message.content
        assert [choice.finish_reason for choice in mine if choice.finish_reason] == ["length"]


def test_log_probabilities_of_a_chat(client):
    content = chat(client, logprobs=True, top_logprobs=3, max_tokens=5).choices[0].logprobs.content
    assert len(content) == 5
    for token in content:
        assert len(token.top_logprobs) == 3
        assert math.isclose(token.logprob, max(top.logprob for top in token.top_logprobs), abs_tol=1e-4)


def test_log_probabilities_of_a_stream_are_those_of_the_whole(client):
    whole = chat(client, logprobs=True, max_tokens=6).choices[0].logprobs.content
    chunks = list(chat(client, logprobs=True, max_tokens=6, stream=True))
    streamed = [token for c in chunks if c.choices and c.choices[0].logprobs for token in c.choices[0].logprobs.content]
    assert [token.logprob for token in streamed] == pytest.approx([token.logprob for token in whole], abs=1e-4)


def test_a_bias_forbids_a_token(client):
    plain = complete(client, logprobs=1, max_tokens=1).choices[0]
    biased = complete(client, logprobs=1, max_tokens=1, logit_bias={str(n): -100 for n in range(100, 400)})
    assert biased.choices[0].text != plain.text


def test_an_answer_is_held_to_a_json_schema(client):
    form = {"type": "json_schema", "json_schema": {"name": "shirt", "schema": SCHEMA, "strict": True}}
    said = json.loads(chat(client, response_format=form).choices[0].message.content)
    assert said["size"] in {"small", "large"}
    assert isinstance(said["in_stock"], bool)


def test_a_schema_that_cannot_be_is_refused_with_the_reason(client):
    form = {"type": "json_schema", "json_schema": {"name": "none", "schema": {"type": "no such type"}}}
    with pytest.raises(openai.BadRequestError, match="no such type"):
        chat(client, response_format=form)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_tool_that_must_be_called_is_called_with_fitting_arguments(client, choice):
    said = chat(client, tools=[WEATHER], tool_choice=choice).choices[0]
    (call,) = said.message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"] in {"Paris", "Oslo"}
    assert said.finish_reason == "tool_calls"


def test_a_call_is_streamed_as_deltas_that_join_to_the_whole(client):
    chunks = list(chat(client, tools=[WEATHER], tool_choice="required", stream=True))
    calls = [call for c in chunks if c.choices for call in c.choices[0].delta.tool_calls or []]
    assert calls[0].function.name == "get_weather"
    assert calls[0].id
    arguments = "".join(call.function.arguments or "" for call in calls)
    whole = chat(client, tools=[WEATHER], tool_choice="required").choices[0].message.tool_calls[0]
    assert json.loads(arguments) == json.loads(whole.function.arguments)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_a_call_that_the_model_chose_is_read_out_of_its_text(stage, play):
    text = ('<tool_call>\n{"name": "get_', 'weather", "arguments": {"city": "Os', 'lo", "days": 2}}', "\n</tool_call>")
    said = chat(stage, play("Let me see. ", *text), tools=[WEATHER], max_tokens=64).choices[0]
    assert said.message.content.strip() == "Let me see."
    assert json.loads(said.message.tool_calls[0].function.arguments) == {"city": "Oslo", "days": 2}
    assert said.finish_reason == "tool_calls"


def test_the_answer_of_a_tool_goes_back_in(client):
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    assert chat(client, messages=messages, tools=[WEATHER], max_tokens=4).choices[0].message.content


def test_embeddings_that_no_release_serves_are_an_error_with_words(client):
    with pytest.raises(openai.APIStatusError) as refused:
        client.embeddings.create(model="tgi", input="a")
    assert refused.value.status_code in {400, 404}
    assert refused.value.message
