"""openai (Python) with API keys: 401, 429 with Retry-After, and what a limited key has left."""

import openai
import pytest

MESSAGES = [{"role": "user", "content": "How do I return an order?"}]


def ask(gateway, key, **more):
    with openai.OpenAI(base_url=gateway.v1, api_key=key, max_retries=0) as client:
        return client.chat.completions.with_raw_response.create(
            model=gateway.model, messages=MESSAGES, max_tokens=4, **more
        )


def test_a_key_is_needed_and_taken(keyed):
    assert ask(keyed, keyed.key).status_code == 200
    with pytest.raises(openai.AuthenticationError) as refused:
        ask(keyed, "wk_wrong")
    assert refused.value.code == "invalid_api_key"
    assert "wk_wrong" not in str(refused.value)


def test_a_key_that_has_asked_too_often_is_a_rate_limit_error_that_says_when(keyed):
    answers = [ask(keyed, keyed.limited_key) for _ in range(2)]
    assert answers[1].headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(openai.RateLimitError) as refused:
        ask(keyed, keyed.limited_key)
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 61  # rounded up
    assert refused.value.message
    assert ask(keyed, keyed.key).status_code == 200
