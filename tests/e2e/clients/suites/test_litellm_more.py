"""litellm 1.109.1 as a client: text completions, tools, structured output."""

import json

import litellm

QUESTION = "How do I return an order?"
MESSAGES = [{"role": "user", "content": QUESTION}]
CHOICE = {"type": "object", "properties": {"size": {"enum": ["small", "large"]}}, "required": ["size"]}


def given(gateway):
    return {"api_base": gateway.v1, "api_key": "none", "max_tokens": 300}


def test_text_completions(real):
    said = litellm.text_completion(
        model=f"text-completion-openai/{real.model}", prompt=QUESTION, **given(real) | {"max_tokens": 8}
    )
    _, plain = real.post("/v1/completions", {"prompt": QUESTION, "max_tokens": 8})
    assert said.choices[0].text == plain["choices"][0]["text"]


def test_a_tool_that_must_be_called(real):
    tool = {"type": "function", "function": {"name": "pick", "parameters": CHOICE | {"additionalProperties": False}}}
    said = litellm.completion(
        model=f"openai/{real.model}", messages=MESSAGES, tools=[tool], tool_choice="required", **given(real)
    )
    call = said.choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments)["size"] in {"small", "large"}


def test_structured_output(real):
    schema = CHOICE | {"additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "pick", "schema": schema, "strict": True}}
    said = litellm.completion(model=f"openai/{real.model}", messages=MESSAGES, response_format=form, **given(real))
    assert json.loads(said.choices[0].message.content)["size"] in {"small", "large"}
