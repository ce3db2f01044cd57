"""A run that is killed, terminated and interrupted ends with the same bytes as one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.tiny_checkpoint import faq_rows, make_tiny_checkpoint

from weir.release.hashing import sha256_tree
from weir_training.resume import newest_complete, step_of

pytestmark = pytest.mark.e2e
STEPS = 200
EVERY = 8


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    base = make_tiny_checkpoint(tmp_path / "base")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in faq_rows(13)))
    path = tmp_path / "recipe.yaml"
    tree = {
        "name": "tiny",
        "model": {"base": str(base)},
        "data": {"train": [str(rows)]},
        "method": {"r": 4, "dropout": 0.1},
        "optim": {"batch_size": 4, "epochs": STEPS / 4, "threads": 1},
        "checkpoint": {"every": EVERY},
    }
    path.write_text(json.dumps(tree))  # JSON is YAML
    return path


def _start(recipe: Path, home: Path) -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).with_name("weir")), "train", str(recipe), "--home", str(home), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _finish(recipe: Path, home: Path) -> dict[str, object]:
    process = _start(recipe, home)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    metrics: dict[str, object] = json.loads(out)
    return metrics


def _step(home: Path) -> int:
    lines = [line for path in home.glob("runs/*/events.jsonl") for line in path.read_text().splitlines()]
    return int(json.loads(lines[-1])["step"]) if lines and lines[-1].endswith("}") else 0


def _stop(recipe: Path, home: Path, number: int, *, after: int) -> tuple[int, str]:
    """Start, wait for some steps beyond `after`, send the signal; return exit code and stderr."""
    process = _start(recipe, home)
    deadline = time.monotonic() + 60
    while _step(home) < after:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(random.random() * 0.05)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_a_run_stopped_in_three_ways_ends_with_the_bytes_of_one_that_never_was(recipe: Path, tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    _finish(recipe, undisturbed)
    ways = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}

    for turn, (number, exit_code) in enumerate(ways.items()):
        after = random.randint(10, 40) + turn * 50
        code, err = _stop(recipe, disturbed, number, after=after)
        assert code == exit_code
        assert number == signal.SIGKILL or "goes on from the last checkpoint" in err
        checkpoint = newest_complete(next(disturbed.glob("runs/*/checkpoints")))
        assert checkpoint is not None
        assert step_of(checkpoint) >= after - EVERY or number == signal.SIGKILL
    _break_newest_checkpoint(disturbed)
    metrics = _finish(recipe, disturbed)

    run, other = (next(home.glob("runs/*")) for home in (disturbed, undisturbed))
    assert metrics["steps"] == STEPS
    assert metrics["resumed_at_step"]
    assert list(run.glob("checkpoints/*.broken"))
    assert sha256_tree(run / "adapter") == sha256_tree(other / "adapter")
    steps = [json.loads(line)["step"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == STEPS


def _break_newest_checkpoint(home: Path) -> None:
    """Do what a full disk or a lost page does: cut a file of the newest checkpoint short."""
    newest = newest_complete(next(home.glob("runs/*/checkpoints")))
    assert newest is not None
    optimizer = newest / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-100])
