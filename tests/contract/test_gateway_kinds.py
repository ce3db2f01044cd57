"""What an operator is told who gives a release to the wrong setting."""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from tests.support.prompt_release import make_prompt_release

KINDS = {"embed": "embeds texts", "classify": "classifies texts"}


def made(folder: Path, task: str) -> Path:
    """A finished release, of which nothing but its kind will be read."""
    folder.mkdir()
    manifest = json.dumps({"schema_version": 1, "task": task}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    (folder / "COMPLETE").write_text(sha256(manifest).hexdigest())
    return folder


def refused(*arguments: str) -> str:
    """What `weir` says as it refuses to start, which takes no traceback."""
    ended = subprocess.run(
        [sys.executable, "-m", "weir", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.mark.parametrize(("task", "cure"), [("embed", "--embedder"), ("classify", "second_tier")])
@pytest.mark.parametrize("as_versions", [False, True])
def test_a_release_that_does_not_generate_is_sent_to_its_setting(
    tmp_path: Path, task: str, cure: str, as_versions: bool
) -> None:
    folder = made(tmp_path / "1", task)
    given = tmp_path if as_versions else folder
    said = refused("serve", "--release", str(given), "--node", "http://127.0.0.1:1", "--home", str(tmp_path / "home"))

    assert KINDS[task] in said
    assert "one that generates text is needed" in said
    assert cure in said


@pytest.mark.parametrize(("task", "cure"), [(None, "--release"), ("classify", "second_tier")])
def test_a_release_that_does_not_embed_is_sent_to_its_setting(tmp_path: Path, task: str | None, cure: str) -> None:
    release = make_prompt_release(tmp_path / "releases")
    other = release if task is None else made(tmp_path / "1", task)
    common = ("--home", str(tmp_path / "home"), "--embedder", str(other))
    served = refused("serve", "--release", str(release), "--node", "http://127.0.0.1:1", *common)
    brought_up = refused("up", *common)

    for said in (served, brought_up):
        assert KINDS.get(task or "", "generates text") in said
        assert "one that embeds texts is needed" in said
        assert cure in said


def test_the_doctor_says_the_same(tmp_path: Path) -> None:
    folder = made(tmp_path / "1", "embed")
    ended = subprocess.run(
        [sys.executable, "-m", "weir", "doctor", "--release", str(folder), "--node", "http://127.0.0.1:1", "--json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "take it with --embedder" in ended.stdout
