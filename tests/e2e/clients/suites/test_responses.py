"""openai 3.54.0 (Python): the responses API, text only."""

import openai
import pytest

QUESTION = "How do I return an order?"


@pytest.fixture
def client(real):
    with openai.OpenAI(base_url=real.v1, api_key="none") as client:
        yield client


def test_a_response_says_what_a_chat_would(client, real):
    said = client.responses.create(model=real.model, input=QUESTION, max_output_tokens=8)
    chat = client.chat.completions.create(
        model=real.model, messages=[{"role": "user", "content": QUESTION}], max_tokens=8
    )
    assert said.output_text == chat.choices[0].message.content
    assert said.usage.output_tokens == 8
    assert said.status == "incomplete"
    assert said.incomplete_details.reason == "max_output_tokens"


def test_a_complete_response_and_instructions(scripted, play):
    with openai.OpenAI(base_url=scripted.v1, api_key="none") as client:
        said = client.responses.create(model="tgi", instructions="Be brief.", input=play("all", " said"))
    assert said.output_text == "all said"
    assert said.status == "completed"


def test_a_streamed_response_is_the_whole_one(client, real):
    whole = client.responses.create(model=real.model, input=QUESTION, max_output_tokens=8)
    events = list(client.responses.create(model=real.model, input=QUESTION, max_output_tokens=8, stream=True))
    assert events[0].type == "response.created"
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.output_text == whole.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_messages_as_input(client, real):
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": QUESTION}]},
        {"role": "assistant", "content": "In My orders."},
        {"role": "user", "content": "And when?"},
    ]
    assert client.responses.create(model=real.model, input=items, max_output_tokens=6).output_text


def test_a_wrong_field_names_itself(client, real):
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=real.model, input=QUESTION, temperature=9)
    assert refused.value.param == "temperature"
