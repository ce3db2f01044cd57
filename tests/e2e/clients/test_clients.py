"""The real clients, each in its own environment, against running gateways. Their tests are in `suites/`."""

import pytest
from tests.e2e.clients.conftest import Gateways
from tests.e2e.clients.suites_found import Suite

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SUITES = (
    Suite("test_hub.py", "hub"),
    Suite("test_hub_more.py", "hub"),
    Suite("test_openai.py", "hub"),
    Suite("test_openai_more.py", "hub"),
    Suite("test_responses.py", "hub"),
    Suite("test_keys_openai.py", "hub"),
    Suite("test_langchain_openai.py", "hub"),
    Suite("test_langchain_openai_more.py", "hub"),
    Suite("test_hub.py", "hub-0"),
    Suite("test_hub_more.py", "hub-0"),
    Suite("test_text_generation.py", "hub-0"),
    Suite("test_langchain_huggingface.py", "hub-0"),
    Suite("test_keys_hub.py", "hub-0"),
    Suite("test_litellm.py", "litellm"),
    Suite("test_litellm_more.py", "litellm"),
    Suite("openai.test.mjs", "node"),
    Suite("openai_more.test.mjs", "node"),
    Suite("inference.test.mjs", "node"),
    Suite("test_lm_eval.py", "lm-eval"),
)


@pytest.mark.parametrize(
    ("suite", "test"),
    [
        pytest.param(suite, test, id=f"{suite.id}: {test.removeprefix('test_')}")
        for suite in SUITES
        for test in suite.tests()
    ],
)
def test_a_client(gateways: Gateways, suite: Suite, test: str) -> None:
    outcome = gateways.outcome(suite, test)
    if outcome.result != "passed":
        pytest.fail(outcome.text, pytrace=False)
