"""JSON logs: one object per line, and no words of an exception."""

import json
import logging

import pytest

from weir.telemetry.logs import configure_logs


@pytest.fixture(autouse=True)
def _restore_root():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_one_object_with_the_given_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("node", "info")
    logging.getLogger("weir.node").info("loaded %s", "faq", extra={"version": 3, "名": "值"})
    logging.getLogger("weir.node").debug("not shown")
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert entry["time"].endswith("+00:00")
    del entry["time"]
    assert entry == {
        "level": "info",
        "service": "node",
        "logger": "weir.node",
        "event": "loaded faq",
        "version": 3,
        "名": "值",
    }


def test_an_exceptions_own_words_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("gateway")
    try:
        int("the prompt was: my password is 1234")
    except ValueError:
        logging.getLogger("weir").exception("failed")
    line = capsys.readouterr().err
    assert "password" not in line.replace(json.dumps(__file__), "")
    assert json.loads(line)["exception"] == "ValueError"
    assert "test_logs.py" in json.loads(line)["trace"][0]
