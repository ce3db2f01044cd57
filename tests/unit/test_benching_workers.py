"""`weir bench engine`: servers in turns, and workers as processes."""

import sys
import time
from pathlib import Path

import pytest

from weir.contracts.errors import JobError
from weir.release.tokenizer import ReleaseTokenizer
from weir_training.benching.children import LineChild, end, spawn
from weir_training.benching.contestants import Label, Weights
from weir_training.benching.environments import code_path
from weir_training.benching.peers.entry import Missing
from weir_training.benching.prompts import WordPrompts
from weir_training.benching.serving import serve_in_turns, served_table
from weir_training.benching.trace import Goal, crowd
from weir_training.benching.word_tokenizer import save_word_tokenizer
from weir_training.progress import silent

VOCABULARY = 2_000


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> ReleaseTokenizer:
    folder = tmp_path_factory.mktemp("words")
    save_word_tokenizer(folder, VOCABULARY)
    return ReleaseTokenizer(folder / "tokenizer.json")


class Queue:
    """A server that answers every request after the same time, or fails; notes what it was asked."""

    def __init__(self, name: str, *, fails: bool = False) -> None:
        self.label = Label(name, "weir", "int8", 100, Weights(100, 60, 40))
        self.rss_bytes = 5_000_000
        self.asked: list[int] = []
        self._fails = fails

    def open(self) -> None:
        pass

    def trace(self, requests: list[dict[str, object]], *, at_once: int | None) -> list[list[float]]:
        if self._fails:
            raise JobError("gone")
        self.asked.append(len(requests))
        return [[0.1, 0.2, 3, number + 1.0] for number, _ in enumerate(requests)]

    def close(self) -> None:
        pass


def test_servers_take_turns_each_warmed_up_and_a_failure_is_told_once(words: ReleaseTokenizer) -> None:
    requests = crowd(WordPrompts(words), count=3, prompt_tokens=8, new_tokens=3)
    good, bad = Queue("good"), Queue("bad", fails=True)
    servers = [good, bad, Missing("peer", "not installed")]
    served, missing = serve_in_turns(servers, requests, at_once=2, rounds=2, progress=silent, stage="serve")
    lines = served_table(served, requests, Goal(1.0, 1.0)).splitlines()

    assert good.asked == [1, 3, 1, 3]
    assert [one.name for one in missing] == ["peer"]
    assert lines[1].split() == ["good", "5", "100", "100", "100", "50.0", "50.0", "3.0", "3.0", "100%"]
    assert lines[3].strip() == "failed: gone"


def test_a_worker_answers_errors_as_such_and_its_end_is_noticed(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        "import os\nfrom weir_training.benching.workers.lines import serve\n"
        "def fail(): raise ValueError('no')\n"
        "print('chatter before')\n"
        "serve({'add': lambda a, b: print('chatter') or {'sum': a + b}, 'fail': fail, 'die': lambda: os._exit(3)})\n",
        encoding="utf-8",
    )
    child = LineChild([sys.executable, script], tmp_path / "log", environment={})
    try:
        with pytest.raises(JobError):  # what was printed before is not JSON
            child.ask("add", timeout_s=20, a=1, b=2)
    finally:
        child.close()

    script.write_text(script.read_text(encoding="utf-8").replace("print('chatter before')\n", ""), encoding="utf-8")
    child = LineChild([sys.executable, script], tmp_path / "log", environment={})
    try:
        assert child.ask("add", timeout_s=20, a=1, b=2) == {"sum": 3}
        assert child.rss_bytes > 1_000_000
        with pytest.raises(JobError, match="fail: ValueError: no"):
            child.ask("fail", timeout_s=20)
        assert child.ask("add", timeout_s=20, a=2, b=2) == {"sum": 4}
        with pytest.raises(JobError, match="die: the worker ended"):
            child.ask("die", timeout_s=20)
    finally:
        child.close()
    assert "chatter" in (tmp_path / "log").read_text(encoding="utf-8")


def test_a_child_that_ignores_the_first_signal_is_killed_with_its_children(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 600 & echo $! ; wait"
    log = tmp_path / "log"
    child = spawn(["sh", "-c", f"{script.replace('echo $!', f'echo $! > {tmp_path}/pid')}"], log)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        time.sleep(0.01)
    grandchild = int((tmp_path / "pid").read_text())
    end(child, patience_s=0.2)

    assert child.poll() is not None
    for _ in range(200):
        if not Path(f"/proc/{grandchild}").exists() or "Z" in Path(f"/proc/{grandchild}/stat").read_text().split()[2]:
            return
        time.sleep(0.01)
    pytest.fail("the grandchild lives on")


def test_a_peers_python_finds_the_workers_and_nothing_else_of_ours(tmp_path: Path) -> None:
    found = code_path(tmp_path)["PYTHONPATH"]

    assert [path.name for path in Path(found).iterdir()] == ["weir_training"]
    assert (Path(found) / "weir_training/benching/workers/lines.py").is_file()
    assert code_path(tmp_path)["PYTHONPATH"] == found
