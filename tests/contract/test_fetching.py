"""`weir releases fetch`: what a cluster's pods do before they start."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support.prompt_release import make_prompt_release
from typer.testing import CliRunner

from weir.contracts.errors import JobError, ReleaseError, UsageError
from weir.release import verbs
from weir.release.fetching import fetch_release

EXPECTED = ("faq", 1)


@dataclass
class Files:
    """What a web server has: bodies by path, and what it was asked with."""

    url: str
    bodies: dict[str, bytes] = field(default_factory=dict)
    claimed: dict[str, int] = field(default_factory=dict)  # lengths that are not true
    authorizations: list[str | None] = field(default_factory=list)


@pytest.fixture
def files() -> Iterator[Files]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files.authorizations.append(self.headers["authorization"])
            body = files.bodies.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("content-length", str(files.claimed.get(self.path, len(body or b""))))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    files = Files(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield files
    server.shutdown()
    thread.join()
    server.server_close()


def packed(folder: Path, mode: str = "w:gz", inside: str = ".") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        archive.add(folder, arcname=inside)
    return out.getvalue()


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return make_prompt_release(tmp_path / "releases")


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(("mode", "inside"), [("w:gz", "."), ("w:xz", "faq/1"), ("w", "releases/faq/1")])
def test_a_packed_release_becomes_the_folder(
    files: Files, release: Path, tmp_path: Path, mode: str, inside: str
) -> None:
    files.bodies["/r"] = packed(release, mode, inside)
    into = tmp_path / "fetch" / "faq" / "1"

    assert fetch_release(f"{files.url}/r", sha256(files.bodies["/r"]), into, expected=EXPECTED)

    names = {path.relative_to(into) for path in into.rglob("*")}
    assert names == {path.relative_to(release) for path in release.rglob("*")}
    assert [path.name for path in into.parent.iterdir()] == ["1"], "nothing else is left"


def test_what_is_there_is_checked_and_kept(files: Files, release: Path, tmp_path: Path) -> None:
    assert not fetch_release(f"{files.url}/never-asked", "0" * 64, release, expected=EXPECTED)
    assert not files.authorizations
    (release / "model" / "tokenizer.json").write_text("{}")
    with pytest.raises(ReleaseError, match=r"tokenizer\.json"):
        fetch_release(f"{files.url}/never-asked", "0" * 64, release, expected=EXPECTED)


def test_another_file_than_was_named_is_refused_and_leaves_nothing(files: Files, release: Path, tmp_path: Path) -> None:
    files.bodies["/r"] = packed(release)
    into = tmp_path / "faq" / "1"
    with pytest.raises(ReleaseError, match="its sha256 is"):
        fetch_release(f"{files.url}/r", "0" * 64, into, expected=EXPECTED)
    assert not list(into.parent.iterdir())


def test_another_model_or_an_altered_file_inside_is_refused(files: Files, release: Path, tmp_path: Path) -> None:
    files.bodies["/r"] = packed(release)
    with pytest.raises(ReleaseError, match="this is faq/1, not tox/2"):
        fetch_release(f"{files.url}/r", sha256(files.bodies["/r"]), tmp_path / "tox" / "2", expected=("tox", 2))

    (release / "model" / "tokenizer.json").write_text("{}")
    files.bodies["/r"] = packed(release)
    with pytest.raises(ReleaseError, match=r"tokenizer\.json is not the file its manifest names"):
        fetch_release(f"{files.url}/r", sha256(files.bodies["/r"]), tmp_path / "faq" / "1", expected=EXPECTED)


@pytest.mark.parametrize("name", ["../../outside", "/outside"])
def test_an_archive_cannot_write_elsewhere(files: Files, tmp_path: Path, name: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 3
        archive.addfile(member, io.BytesIO(b"bad"))
    files.bodies["/r"] = out.getvalue()
    with pytest.raises(ReleaseError):
        fetch_release(f"{files.url}/r", sha256(files.bodies["/r"]), tmp_path / "in" / "faq" / "1", expected=EXPECTED)
    assert not list(tmp_path.rglob("outside"))
    assert not Path("/outside").exists()


def test_a_download_that_breaks_off_says_so(files: Files, release: Path, tmp_path: Path) -> None:
    files.bodies["/r"] = packed(release)
    files.claimed["/r"] = len(files.bodies["/r"]) + 5
    with pytest.raises(JobError, match="broke off"):
        fetch_release(f"{files.url}/r", sha256(files.bodies["/r"]), tmp_path / "faq" / "1", expected=EXPECTED)


def test_what_a_killed_one_left_is_removed(files: Files, release: Path, tmp_path: Path) -> None:
    files.bodies["/r"] = packed(release)
    into = tmp_path / "faq" / "1"
    (into.parent / ".1-left").mkdir(parents=True)
    fetch_release(f"{files.url}/r", sha256(files.bodies["/r"]), into, expected=EXPECTED)
    assert [path.name for path in into.parent.iterdir()] == ["1"]


def test_the_verb_sends_what_the_secret_holds_and_names_what_is_wrong(
    files: Files, release: Path, tmp_path: Path
) -> None:
    files.bodies["/r"] = packed(release)
    words = ["fetch", f"{files.url}/r", "--sha256", sha256(files.bodies["/r"]), "--into", str(tmp_path / "faq" / "1")]
    secret = {"WEIR_FETCH_AUTHORIZATION": "Bearer abc"}
    runner = CliRunner()

    done = runner.invoke(verbs.app, [*words, "--release", "faq/1"], env=secret)
    assert done.exit_code == 0, done.output
    assert files.authorizations == ["Bearer abc"]
    assert "was here already" in runner.invoke(verbs.app, [*words, "--release", "faq/1"]).output
    assert isinstance(runner.invoke(verbs.app, [*words, "--release", "faq"]).exception, UsageError)

    words[1], words[5] = f"{files.url}/absent", str(tmp_path / "faq" / "2")
    failed = runner.invoke(verbs.app, [*words, "--release", "faq/2"]).exception
    assert isinstance(failed, JobError)
    assert "status 404" in str(failed)
    with pytest.raises(UsageError, match="not an http address"):
        fetch_release("file:///etc/passwd", "0" * 64, tmp_path / "x" / "1", expected=EXPECTED)
