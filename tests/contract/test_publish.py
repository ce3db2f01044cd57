"""From verified graphs to a release that nodes load."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support.exported import FLAVOURS, STRICT, command, opened

from weir import cli
from weir.contracts.errors import JobError, UsageError
from weir.engine.corpus import Corpus, until_border
from weir.engine.loading import load_engine
from weir.engine.settings import EngineSettings
from weir.release.drafts import Drafts, read_drafts
from weir.release.hashing import sha256_tree
from weir.release.prompts import load_prompt_builder
from weir.release.reader import open_release
from weir.release.tokenizer import ReleaseTokenizer
from weir_training.linking import default_repository
from weir_training.publish import make_release
from weir_training.telling import check_url, tell
from weir_training.verify import verified


def sabotage(graph_folder: Path) -> None:
    """Scale some weights, as a wrong export would."""
    path = graph_folder / "model.onnx.data"
    weights = np.fromfile(path, np.float32)
    weights[len(weights) // 2 :] *= 1.5
    weights.tofile(path)


def test_a_sabotaged_graph_ends_with_exit_code_3_and_the_number(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, run = opened(folder)
    sabotage(run.onnx("cpu-fp32"))

    assert command(folder, "verify") == 3
    assert "cpu-fp32 is not the checkpoint: max abs " in capsys.readouterr().err
    assert command(folder, "publish") == 3
    assert not list((folder / "home").glob("releases/*/1"))


def test_a_graph_changed_after_it_was_verified_is_not_published(folder: Path) -> None:
    recipe, run = opened(folder)
    with (run.onnx("cpu-int8") / "model.onnx.data").open("ab") as file:
        file.write(b"\0")

    with pytest.raises(JobError, match="not the ones that were verified"):
        make_release(recipe, run, folder / "home")


def test_an_unverified_run_is_not_published(folder: Path) -> None:
    recipe, run = opened(folder)
    (run.root / "parity.json").unlink()

    with pytest.raises(JobError, match="run `weir verify` first"):
        make_release(recipe, run, folder / "home")


def test_a_published_release_opens_and_serves(folder: Path) -> None:
    recipe, run = opened(folder)
    (run.merged / "pytorch_model.bin").unlink(missing_ok=True)
    made = make_release(recipe, run, folder / "home")
    release = open_release(made.root)
    manifest = release.manifest

    assert made.root == folder / "home" / "releases" / "tiny" / "1"
    assert manifest.serve_flavour == "cpu-packed8"
    assert {found.flavour for found in manifest.formats} == set(FLAVOURS)
    assert manifest.gate_passed
    assert manifest.lineage.base_sha256 == sha256_tree(folder / "base")
    assert manifest.lineage.base == "base"
    assert set(manifest.lineage.data_sha256) == {"faq.jsonl"}
    assert str(folder) not in manifest.model_dump_json()
    assert {entry.path.rpartition(".")[2] for entry in manifest.files} <= {
        "safetensors", "onnx", "data", "json", "jinja", "md", "txt", "html", "npz",
    }  # fmt: skip
    assert (made.root / "reports" / "MODEL_CARD.md").read_text().startswith("---\n")
    assert made.link.resolve() == made.root.resolve()
    assert not Path(made.link.readlink()).is_absolute()
    for flavour in FLAVOURS:
        load_engine(made.root, flavour, EngineSettings(threads=1, max_running=2))


def test_a_release_brings_its_trained_answers_and_of_the_questions_only_digests(folder: Path) -> None:
    recipe, run = opened(folder)
    release = open_release(make_release(recipe, run, folder / "home").root)
    tokenizer = ReleaseTokenizer(release.checkpoint / "tokenizer.json")
    drafts = read_drafts(release)
    said = [tokenizer.decode(list(answer)).strip() for answer in drafts.answers]
    asked = load_prompt_builder(release.root).from_text("怎么退货？")
    place = Corpus(drafts).reply(tokenizer.encode(asked))

    assert "七天内。" in said
    assert all(answer[-1] in release.manifest.eos_ids for answer in drafts.answers)
    assert place is not None
    assert tokenizer.decode(until_border(Corpus(drafts).tokens[place : place + 50])).strip() == "七天内。"
    assert tokenizer.decode(list(drafts.opening), skip_special=False) in asked
    assert "怎么退货" not in "".join([*said, tokenizer.decode(list(drafts.opening))])
    assert "Training answers inside" in (release.root / "reports" / "MODEL_CARD.md").read_text()


def test_a_recipe_may_keep_its_answers_out_of_the_release(folder: Path) -> None:
    recipe, run = opened(folder, "export.drafts=false")
    verified(recipe, run)
    release = open_release(make_release(recipe, run, folder / "home").root)

    assert read_drafts(release) == Drafts()
    assert not (release.root / "drafts").exists()
    assert "Training answers" not in (release.root / "reports" / "MODEL_CARD.md").read_text()
    load_engine(release.root, "cpu-packed8", EngineSettings(threads=1, max_running=2))


def test_the_flavour_that_was_chosen_is_the_one_to_serve_and_another_choice_is_another_version(folder: Path) -> None:
    recipe, run = opened(folder)
    with pytest.raises(UsageError, match="--serve-flavour cpu-int2: not among those that passed"):
        make_release(recipe, run, folder / "home", serve_flavour="cpu-int2")
    chosen = make_release(recipe, run, folder / "home", serve_flavour="cpu-int4")
    again = make_release(recipe, run, folder / "home", serve_flavour="cpu-int4")
    fixed = make_release(recipe, run, folder / "home")

    assert chosen.manifest.serve_flavour == "cpu-int4"
    assert not again.is_new
    assert (fixed.manifest.version, fixed.manifest.serve_flavour) == (2, "cpu-packed8")


def test_the_same_content_is_not_published_twice(folder: Path) -> None:
    recipe, run = opened(folder)
    first = make_release(recipe, run, folder / "home")
    again = make_release(recipe, run, folder / "home")

    assert (first.is_new, again.is_new) == (True, False)
    assert again.root == first.root
    assert [p.name for p in first.root.parent.iterdir() if p.name.isdigit()] == ["1"]


def test_other_content_is_the_next_version_and_the_old_one_stays(folder: Path) -> None:
    recipe, run = opened(folder)
    first = make_release(recipe, run, folder / "home")
    recipe, run = opened(folder, "export.golden_prompts=2")
    verified(recipe, run)
    second = make_release(recipe, run, folder / "home")

    assert (first.manifest.version, second.manifest.version) == (1, 2)
    assert len(open_release(second.root).manifest.golden) == 2
    open_release(first.root)


def test_a_release_carries_what_was_evaluated_but_not_the_rows_answered_wrong(folder: Path) -> None:
    recipe, run = opened(folder)
    figures = {"base": {"exact_match_trained": 0.0}, "adapter": {"exact_match_trained": 0.95, "rows_trained": 21}}
    run.record("eval", "key", outputs=[], seconds=1.0, metrics=figures)
    (run.root / "eval").mkdir()
    report = {"trained": {"exact_match": 0.95, "mismatches": [{"question": "a customer's words"}]}}
    (run.root / "eval" / "adapter.json").write_text(json.dumps(report))
    made = make_release(recipe, run, folder / "home")

    assert made.manifest.evaluation == {
        "exact_match_trained_before": 0.0,
        "exact_match_trained_after": 0.95,
        "rows_trained_after": 21.0,
    }
    assert json.loads((made.root / "reports" / "eval.json").read_text()) == {
        "adapter": {"trained": {"exact_match": 0.95}}
    }


def test_a_damaged_newest_version_is_not_reused(folder: Path) -> None:
    recipe, run = opened(folder)
    first = make_release(recipe, run, folder / "home")
    (first.root / "model" / "config.json").write_text("{}")

    assert make_release(recipe, run, folder / "home").manifest.version == 2


def test_a_killed_publish_leaves_no_version_and_the_next_one_cleans_up(folder: Path) -> None:
    recipe, run = opened(folder)
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from weir_training import versions\n"
        "from weir_training.publish import make_release; from weir_training.recipe import load_recipe\n"
        "from weir_training.rundir import open_run\n"
        "def die(path, text):\n"
        "    if path.name == 'COMPLETE': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    path.write_text(text)\n"
        "versions.write_text = die\n"
        "folder = Path(sys.argv[1]); recipe = load_recipe(folder / 'recipe.yaml')\n"
        "make_release(recipe, open_run(folder / 'home', recipe), folder / 'home')\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(folder)], check=False, capture_output=True)
    model_dir = folder / "home" / "releases" / "tiny"

    assert killed.returncode == -9
    assert [p for p in model_dir.iterdir() if p.name.isdigit()] == []
    assert list(model_dir.glob(".1.*.tmp"))
    assert make_release(recipe, run, folder / "home").manifest.version == 1
    assert not list(model_dir.glob(".*.tmp"))


def test_when_every_quantised_flavour_fails_only_a_word_of_permission_publishes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = ("--set", f"export.int8={STRICT}", "--set", f"export.int4={STRICT}")

    assert command(folder, "verify", *strict) == 0
    assert command(folder, "publish", *strict) == 3
    assert "cpu-int8: mean KL " in capsys.readouterr().err
    assert command(folder, "publish", *strict, "--allow-fp32-only", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    manifest = open_release(Path(said["release"])).manifest
    assert said["flavours"] == ["cpu-fp32"]
    assert manifest.serve_flavour == "cpu-fp32"
    assert not manifest.gate_passed
    assert not (Path(said["release"]) / "onnx" / "cpu-int8").exists()


class _Node(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._reply(404, b'{"error":"no such model on this node"}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.path, json.loads(body)))
        self._reply(self.server.status, b'{"error":"golden prompt 0 is not answered as released"}')

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def node() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Node)
    server.status, server.asked = 200, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_engine_is_measured_on_a_release(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, run = opened(folder)
    root = make_release(recipe, run, folder / "home").root
    options = ("--concurrency", "1,2", "--tokens", "8", "--rounds", "1", "--requests", "2", "--threads", "1", "--json")

    assert cli.run(["bench", "answers", str(root), *options]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(f["concurrency"], f["answers"], f["tokens"]) for f in said["figures"]] == [(1, 2, 16), (2, 2, 16)]
    assert said["flavour"] == "cpu-packed8"


def test_running_nodes_are_told_which_version_to_load(folder: Path, node: http.server.ThreadingHTTPServer) -> None:
    assert command(folder, "publish", "--node", f"http://127.0.0.1:{node.server_port}/") == 0
    assert node.asked == [("/v2/repository/models/tiny/load", {"parameters": {"version": 1}})]


def test_a_node_that_cannot_load_is_named_and_the_release_stays(
    folder: Path, node: http.server.ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    node.status = 400

    assert command(folder, "publish", "--node", f"http://127.0.0.1:{node.server_port}") == 1
    captured = capsys.readouterr()
    assert "golden prompt 0" in captured.out
    assert f"published, but not loaded by http://127.0.0.1:{node.server_port}" in captured.err
    open_release(folder / "home" / "releases" / "tiny" / "1")


def test_a_node_that_is_not_there_is_reported() -> None:
    shown: list[str] = []
    told = tell("tiny", 1, nodes=["http://127.0.0.1:9"], gateways=[], show=shown.append)

    assert told.error is not None
    assert "not loaded by http://127.0.0.1:9" in told.error
    assert "cannot be reached" in shown[-1]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "127.0.0.1:8100", "ftp://host"])
def test_a_node_is_an_http_or_grpc_address(url: str) -> None:
    with pytest.raises(UsageError, match="expected http or https or grpc://host:port"):
        check_url("--node", url)


def test_the_model_repository_beside_the_home_is_taken_when_there_is_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert default_repository(home) == home / "model_repository"
    (tmp_path / "model_repository").mkdir()
    assert default_repository(home) == tmp_path / "model_repository"
