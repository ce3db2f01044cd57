"""Keys as an operator meets them: changed on the command line, used by `weir generate`, warned of."""

import json
import logging
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from tests.support.gateway import Gateway, Stage, answer, gateway
from tests.support.ports import free_port
from tests.support.prompt_release import make_prompt_release

from weir.cli import run
from weir.contracts.errors import UsageError
from weir.gateway.access import Access, require_callers, warn_of_split_limits
from weir.gateway.denials import NoKeyError
from weir.gateway.settings_access import AccessSettings
from weir.supervisor.stack import StackSettings
from weir.supervisor.verbs_up import _welcome
from weir.telemetry.metrics import GatewayMetrics

ASK = {"inputs": "hi", "parameters": {"max_new_tokens": 5}}


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEIR_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def weir(stage: Stage, home: Path) -> Iterator[Gateway]:
    with gateway(make_prompt_release(home / "releases"), stage.backend, with_store=True, home=home) as running:
        yield running


def key_of(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert run(["keys", "create", "bot", *options, "--json"]) == 0
    return str(json.loads(capsys.readouterr().out)["key"])


def test_a_limit_is_changed_while_the_gateway_runs(weir: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    key = key_of(capsys, "--requests-per-min", "1")
    weir.eventually(lambda: weir.app.access.keyring.has_keys)
    assert [weir.post("/generate", ASK, authorization=f"Bearer {key}").status for _ in range(2)] == [200, 429]

    assert run(["keys", "set", "bot", "--requests-per-min", "0", "--priority", "3"]) == 0

    weir.eventually(lambda: weir.app.access.keyring.callers[0].priority == 3)
    assert weir.post("/generate", ASK, authorization=f"Bearer {key}").status == 200
    assert weir.app.access.keyring.callers[0].requests_per_min is None


def test_a_wrong_change_is_a_usage_error_that_names_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key_of(capsys)
    assert run(["keys", "set", "bot"]) == 2
    assert "nothing to change" in capsys.readouterr().err
    assert run(["keys", "set", "bot", "--priority", "99"]) == 2
    assert "priority" in capsys.readouterr().err
    assert run(["keys", "set", "nobody", "--priority", "1"]) == 2


def test_weir_generate_takes_a_key_and_says_when_it_wants_one(
    weir: Gateway, stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.script = answer("七天", "内。")
    key = key_of(capsys)
    weir.eventually(lambda: weir.app.access.keyring.has_keys)

    assert run(["generate", "?", "--url", weir.url]) == 1
    assert "--key, or WEIR_KEY" in capsys.readouterr().err
    assert run(["generate", "?", "--url", weir.url, "--key", key]) == 0
    monkeypatch.setenv("WEIR_KEY", key)
    assert run(["generate", "?", "--url", weir.url]) == 0
    assert capsys.readouterr().out == "七天内。\n" * 2


def test_limits_that_each_process_counts_by_itself_are_warned_of(
    home: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    alone, shared = AccessSettings(), AccessSettings(redis="redis://127.0.0.1:1")  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        key_of(capsys)
        warn_of_split_limits(alone, home, workers=2)  # nobody has a limit
        key_of(capsys, "--tokens-per-min", "100")
        warn_of_split_limits(alone, home, workers=1)
        warn_of_split_limits(shared, home, workers=2)
        assert caplog.messages == []
        warn_of_split_limits(alone, home, workers=2)
    assert caplog.messages == ["limits_counted_per_process"]


def test_the_line_that_weir_up_prints_can_be_pasted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = StackSettings(home / "faq" / "1", home, "0.0.0.0", 8080, 8081, 8100)
    question = 'Don\'t you "ship" to $HOME?'

    words = shlex.split(_welcome(settings, question).strip().splitlines()[-1])
    assert words[:2] == ["curl", "http://127.0.0.1:8080/generate"]
    assert json.loads(words[-1])["inputs"] == question
    assert "http://127.0.0.1:8081/metrics" in _welcome(settings, question)
    assert not [word for word in words if word.startswith("authorization")]

    key_of(capsys)
    assert "-H 'authorization: Bearer YOUR_KEY'" in _welcome(settings, question)


def test_what_ends_in_a_public_gateway_is_refused_before_it_begins(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ports = [str(free_port()) for _ in range(3)]
    where = ["--host", "0.0.0.0", "--port", ports[0], "--admin-port", ports[1], "--node-port", ports[2]]
    assert run(["up", "--home", str(home), *where]) == 2
    assert f"`weir keys create NAME --home {home}`" in capsys.readouterr().err
    settings = AccessSettings()
    with pytest.raises(UsageError, match="nobody has a key yet"):
        require_callers(settings, home, "0.0.0.0")
    require_callers(settings, home, "127.0.0.1")
    require_callers(AccessSettings(allow_anonymous=True), home, "0.0.0.0")
    key_of(capsys)
    require_callers(settings, home, "0.0.0.0")


def test_with_an_admin_token_a_public_gateway_starts_shut_and_its_first_key_opens_it(
    home: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """In a cluster nobody can make a key before the first gateway runs."""
    settings = AccessSettings(admin_token=SecretStr("a token of sixteen"))
    require_callers(settings, home, "0.0.0.0")
    access = Access.open(settings, GatewayMetrics(CollectorRegistry()), home=home, host="0.0.0.0")
    try:
        assert "nobody_has_a_key" in caplog.messages
        with pytest.raises(NoKeyError):
            access.keyring.identify(None)
        key = key_of(capsys)
        assert access.keys is not None
        access.keyring.load(access.keyring.read(access.keys))
        assert access.keyring.identify(key.encode()).key_id
        with pytest.raises(NoKeyError):
            access.keyring.identify(None)
    finally:
        access._close()
