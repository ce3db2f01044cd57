"""`weir VERB`: exit codes and last words."""

import importlib
import sys
import types

import pytest
import typer

from weir import cli
from weir.contracts.errors import CheckFailedError, UsageError


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch):
    """Make `weir fake` raise what it is given."""

    def raising(error: BaseException) -> None:
        app = typer.Typer()

        @app.command()
        def fake() -> None:
            raise error

        module = types.ModuleType("weir._fake_verb")
        module.app = app
        monkeypatch.setitem(sys.modules, "weir._fake_verb", module)
        monkeypatch.setitem(cli.VERBS, "fake", cli.Verb("weir._fake_verb", "dev", "a verb of this test"))

    return raising


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "the same command goes on from here"),
        (UsageError("no such file"), 2, "weir: no such file"),
        (CheckFailedError("KL 0.2 > 0.1"), 3, "weir: KL 0.2 > 0.1"),
        (OSError(28, "No space left on device"), 1, "the disk is full"),
    ],
)
def test_a_verbs_end_has_its_exit_code_and_its_words(verb, capsys, error, code, said) -> None:
    verb(error)
    assert cli.run(["fake"]) == code
    assert said in capsys.readouterr().err


def test_an_option_that_does_not_exist_is_a_usage_error(verb) -> None:
    verb(UsageError("never reached"))
    assert cli.run(["fake", "--nowhere"]) == 2


def test_a_verb_that_does_not_exist_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["tran"]) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err


def _commands() -> list[list[str]]:
    """Every verb, and every command below one."""
    found = []
    for name, verb in cli.VERBS.items():
        app = importlib.import_module(verb.module).app
        found.append([name])
        if len(app.registered_commands) > 1:
            found += [[name, str(c.name or c.callback.__name__)] for c in app.registered_commands]
    return found


@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_every_command_explains_itself(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*words, "--help"]) == 0
    assert "Usage:" in capsys.readouterr().out
