"""`weir doctor`: each thing that can be wrong is named, with what to do, and no secret is."""

import asyncio
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.embedders import export_tiny
from tests.support.grpc_node import GrpcNode, serving
from tests.support.ports import free_port
from tests.support.prompt_release import make_prompt_release

from weir import __version__
from weir.cli import run
from weir.engine.kernels import library
from weir.gateway import diagnosis
from weir.guard.native.library import core
from weir.store.database import Database
from weir.supervisor.checks.nodes import Expected, nodes

CANARY = "zq-canary-of-a-secret"


@dataclass
class Doctor:
    """Runs the verb on a settings file; `findings` by check."""

    folder: Path
    release: Path
    capture: pytest.CaptureFixture[str]

    @property
    def policy(self) -> Path:
        """A small one: the packaged policy takes most of a second to prove."""
        path = self.folder / "small.yaml"
        path.write_text("{version: 1, id: small, rules: [{id: bomb, direction: [output], action: block, terms: [x]}]}")
        return path

    def settings(self, **changed: Any) -> dict[str, Any]:
        port = free_port()
        return {
            "home": str(self.folder / "home"),
            "nodes": [{"name": "cpu-0", "url": f"http://127.0.0.1:{free_port()}"}],
            "releases": [str(self.release)],
            "port": port,
            "edge": {"admin_port": free_port()},
            "guard": str(self.policy),
            **changed,
        }

    def says(self, settings: dict[str, Any] | str, *more: str) -> tuple[int, dict[str, dict[str, str]]]:
        config = self.folder / "gateway.yaml"
        config.write_text(settings if isinstance(settings, str) else yaml.safe_dump(settings, sort_keys=False))
        code = run(["doctor", "--config", str(config), "--json", *more])
        out = self.capture.readouterr().out
        found = json.loads(out)
        assert found["fail"] == sum(finding["level"] == "fail" for finding in found["findings"])
        assert all(finding["do"] for finding in found["findings"] if finding["level"] == "fail")
        return code, {finding["check"]: finding for finding in found["findings"]}


@pytest.fixture
def doctor(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    (tmp_path / "home").mkdir()
    return Doctor(tmp_path, release, capsys)


@contextmanager
def played_node(
    *, version: str = __version__, serves: str = "1", ahead_s: float = 0, ready: int = 200, model: str = "faq"
) -> Generator[str]:
    """What a node says of itself; the value is its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = ready if self.path.endswith("/ready") else 200
            said = {"name": "weir-node", "version": version, "versions": [serves]}
            if not (self.path == "/v2" or self.path.startswith(f"/v2/models/{model}")):
                status = 404
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + ahead_s, usegmt=True)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def at(url: str) -> list[dict[str, str]]:
    return [{"name": "cpu-0", "url": url}]


def test_a_sound_installation_passes(doctor: Doctor) -> None:
    with played_node() as url:
        code, found = doctor.says(doctor.settings(nodes=at(url), guard=None))
    assert code == 0
    assert [finding["check"] for finding in found.values() if finding["level"] == "fail"] == []
    assert found["release"]["says"] == "faq version 1"
    assert found["model at cpu-0"]["level"] == found["clock of cpu-0"]["level"] == "ok"
    assert "nothing there yet" in found["database"]["says"]
    assert not (doctor.folder / "home" / "gateway.sqlite").exists(), "it only looks"
    assert found["gateway port"]["says"].endswith("is free")
    assert found["packages of gateway"]["level"] == "ok"


def test_a_file_that_is_no_yaml_is_shown_with_line_and_column(doctor: Doctor) -> None:
    code, found = doctor.says(f"port: 8080\nnodes: [{{name: {CANARY}\nhost: x\n")
    assert code == 3
    assert "gateway.yaml: line 3, column 5: " in found["gateway settings"]["says"]
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    ("changed", "line", "words"),
    [
        ({"prot": 8080}, 11, "did you mean 'port'?"),
        ({"nodes": [{"name": "cpu-0", "url": "ftp://x"}]}, 4, "nodes.0.url"),
        ({"drain_timeout_s": -1}, 11, "drain_timeout_s"),
        ({"access": {"audit_days": "many"}}, 12, "access.audit_days"),
    ],
)
def test_a_wrong_setting_is_shown_with_its_line(doctor: Doctor, changed: dict[str, Any], line: int, words: str) -> None:
    code, found = doctor.says(doctor.settings(**changed))
    assert code == 3
    assert f"gateway.yaml, line {line}: " in found["gateway settings"]["says"]
    assert words in found["gateway settings"]["says"]


def test_a_node_that_is_away_is_named(doctor: Doctor) -> None:
    code, found = doctor.says(doctor.settings())
    assert code == 3
    assert "does not answer (Connection refused)" in found["node cpu-0"]["says"]
    assert "weir node" in found["node cpu-0"]["do"]


def test_a_node_that_serves_another_release_is_told_from_one_of_another_weir(doctor: Doctor) -> None:
    with played_node(version="9.9.9", serves="7") as url:
        code, found = doctor.says(doctor.settings(nodes=at(url)))
    assert code == 3
    assert found["model at cpu-0"]["says"] == "it serves version 7; the gateway expects faq version 1"
    assert found["node cpu-0"]["level"] == "warn"
    assert f"9.9.9; here is {__version__}" in found["node cpu-0"]["says"]


def test_a_node_needs_one_of_the_models_and_each_model_a_node(doctor: Doctor) -> None:
    releases = [str(doctor.release), str(make_prompt_release(doctor.folder / "more", model="big"))]
    with played_node() as first, played_node(model="big") as second, played_node(model="none") as third:
        nodes = [{"name": name, "url": url} for name, url in (("a", first), ("b", second), ("c", third))]
        code, found = doctor.says(doctor.settings(nodes=nodes[:2], releases=releases))
        assert (code, [one for one in found.values() if one["level"] == "fail"]) == (0, [])
        assert [found[f"model at {name}"]["says"] for name in "ab"] == [
            "faq version 1 is ready",
            "big version 1 is ready",
        ]
        code, found = doctor.says(doctor.settings(nodes=nodes, releases=releases))
        assert (code, found["model at c"]["says"]) == (3, "it does not serve faq, or big")

        code, found = doctor.says(doctor.settings(nodes=nodes[:1], releases=releases))
        assert (code, found["model big"]["level"]) == (0, "warn")
        code, found = doctor.says(doctor.settings(nodes=nodes[1:2], releases=releases))
        assert (code, found["model faq"]["level"]) == (3, "fail")
        assert "will not be ready" in found["model faq"]["says"]


def test_embedders_and_their_nodes_are_looked_at_too(doctor: Doctor) -> None:
    words = export_tiny(doctor.folder / "home", name="words").root.parent
    with played_node() as url:
        settings = doctor.settings(nodes=at(url), embedders=[{"release": str(words)}])
        code, found = doctor.says(settings)
        assert code == 3
        assert found["embedder"]["says"] == "words version 1"
        assert found["model at words@0"]["says"] == "it does not serve words"

        settings["embedders"] = [{"release": str(doctor.folder / "nowhere")}]
        code, found = doctor.says(settings)
        assert (code, found["embedder"]["level"]) == (3, "fail")


def test_nodes_of_the_file_and_of_names_are_looked_at_too(doctor: Doctor) -> None:
    with played_node() as url:
        port = url.rpartition(":")[2]
        (doctor.folder / "nodes.yaml").write_text(
            f"- {{name: listed, url: '{url}'}}\n- {{name: named, url: 'dns+http://localhost:{port}'}}\n"
            f"- {{name: lost, url: 'dns+http://no-such-name.invalid:{port}'}}\n"
        )
        code, found = doctor.says(doctor.settings(nodes=[], nodes_file=str(doctor.folder / "nodes.yaml")))
    assert code == 3
    assert found["model at listed"]["level"] == found["model at named-127-0-0-1"]["level"] == "ok"
    assert found["nodes"]["says"] == "the name no-such-name.invalid cannot be looked up"


def test_a_model_that_is_not_ready_is_no_model(doctor: Doctor) -> None:
    with played_node(ready=503) as url:
        code, found = doctor.says(doctor.settings(nodes=at(url)))
    assert code == 3
    assert "not ready" in found["model at cpu-0"]["says"]


@pytest.mark.parametrize(("ahead_s", "words"), [(100, "100 s ahead of"), (-3600, "3600 s behind")])
def test_a_clock_that_is_off_is_a_warning(doctor: Doctor, ahead_s: float, words: str) -> None:
    with played_node(ahead_s=ahead_s) as url:
        code, found = doctor.says(doctor.settings(nodes=at(url)))
    assert code == 0
    assert found["clock of cpu-0"]["level"] == "warn"
    said = found["clock of cpu-0"]["says"]
    assert words in said or str(int(words.split()[0]) - 1) in said  # a second may pass between the two looks


@pytest.mark.parametrize(("is_ready", "level"), [(True, "ok"), (False, "fail")])
async def test_a_triton_is_asked_over_grpc(is_ready: bool, level: str) -> None:
    triton = GrpcNode()
    triton.is_ready = is_ready
    async with serving(triton) as address:
        found = await asyncio.to_thread(list, nodes([("gpu-0", f"grpc://{address}")], [Expected("faq", 2)]))
    assert found[0].says.endswith("is triton 2.51.0")
    assert (found[1].check, found[1].level) == ("model at gpu-0", level)


def test_a_triton_that_is_away_is_named() -> None:
    (found,) = nodes([("gpu-0", f"grpc://127.0.0.1:{free_port()}")], [])
    assert (found.level, found.check) == ("fail", "node gpu-0")


def test_what_is_at_a_nodes_address_may_be_no_node(doctor: Doctor) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        code, found = doctor.says(doctor.settings(nodes=at(f"http://127.0.0.1:{server.server_port}")))
        server.shutdown()
        thread.join()
    assert code == 3
    assert "is no node" in found["node cpu-0"]["says"]


def test_a_port_that_is_taken_is_shown_with_who_holds_it(doctor: Doctor) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken, played_node() as url:
        code, found = doctor.says(doctor.settings(nodes=at(url), port=taken.getsockname()[1]))
    assert code == 3
    assert "is held by process" in found["gateway port"]["says"]
    assert "python" in found["gateway port"]["says"]


def test_a_policy_that_does_not_do_as_its_examples_say_is_refused(doctor: Doctor) -> None:
    policy = doctor.folder / "guard.yaml"
    rule = {"id": "mail", "direction": ["output"], "action": "redact", "regex": "x@y", "examples": {"hit": ["nothing"]}}
    policy.write_text(yaml.safe_dump({"version": 1, "id": "mine", "rules": [rule]}))
    with played_node() as url:
        code, found = doctor.says(doctor.settings(nodes=at(url), guard=str(policy)))
    assert code == 3
    assert "mail" in found["policy"]["says"]
    assert f"weir guard check {policy}" in found["policy"]["do"]


def test_a_database_of_a_newer_weir_is_named_and_left_alone(doctor: Doctor) -> None:
    path = doctor.folder / "home" / "gateway.sqlite"
    Database(f"sqlite:///{path}").open()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'v9999'")
    with played_node() as url:
        code, found = doctor.says(doctor.settings(nodes=at(url)))
    assert code == 3
    assert "newer Weir" in found["database"]["says"]


def test_a_public_gateway_without_keys_is_refused_as_it_would_be_at_its_start(doctor: Doctor) -> None:
    with played_node() as url:
        code, found = doctor.says(doctor.settings(nodes=at(url), host="0.0.0.0"))
    assert code == 3
    assert "nobody has a key" in found["database"]["says"]
    assert "weir keys create" in found["database"]["do"]


def test_no_secret_is_ever_printed(doctor: Doctor, capsys: pytest.CaptureFixture[str]) -> None:
    settings = doctor.settings(
        access={
            "database": f"postgresql://weir:{CANARY}@127.0.0.1:9/weir?password={CANARY}",
            "redis": f"redis://:{CANARY}@127.0.0.1:9/0",
            "admin_token": f"{CANARY}-token-of-admins",
        },
        tracing={"endpoint": "http://127.0.0.1:9", "headers": {"authorization": CANARY}},
    )
    code, found = doctor.says(settings)
    assert code == 3
    assert found["database"]["level"] == found["redis"]["level"] == "fail"
    assert found["database"]["says"].startswith("postgresql 127.0.0.1/weir: ")
    assert found["tracing"]["level"] == "warn"
    run(["doctor", "--config", str(doctor.folder / "gateway.yaml")])
    said = capsys.readouterr()
    assert "FAIL" in said.out
    assert CANARY not in str(found) + said.out + said.err

    settings["access"]["admin_token"] = {CANARY: CANARY}  # a value of the wrong type is not quoted
    assert CANARY not in str(doctor.says(settings)[1])


def test_files_with_secrets_that_others_may_read_are_named(doctor: Doctor) -> None:
    key = doctor.folder / "home" / "audit.key"
    key.write_text("x" * 32)
    key.chmod(0o644)
    _, found = doctor.says(doctor.settings())
    assert found["permissions"]["do"] == f"chmod 600 {key}"


def test_a_home_that_is_no_folder_is_a_fault(doctor: Doctor) -> None:
    (doctor.folder / "file").write_text("")
    code, found = doctor.says(doctor.settings(home=str(doctor.folder / "file")))
    assert code == 3
    assert "is not a folder" in found["home"]["says"]


def test_the_settings_of_a_node_are_read_too(doctor: Doctor) -> None:
    config = doctor.folder / "node.yaml"
    config.write_text("max_runing: 3\n")
    code, found = doctor.says(doctor.settings(), "--node-config", str(config))
    assert code == 3
    assert "node.yaml, line 1: node settings: no setting 'max_runing'; did you mean 'max_running'?" in str(found)


def test_operators_that_were_not_built_are_a_warning(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = library.instruction_set()
    _, found = doctor.says(doctor.settings())
    assert said is None or said in found["operators"]["says"]
    monkeypatch.setattr(library, "_LIBRARY", tmp_path / "nothing.so")
    _, found = doctor.says(doctor.settings())
    assert "not built" in found["operators"]["says"]


def test_a_guard_that_searches_in_python_is_a_warning(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = doctor.says(doctor.settings())
    assert found["guard"]["level"] == ("ok" if core() else "warn")
    monkeypatch.setattr(diagnosis, "core", lambda: None)
    _, found = doctor.says(doctor.settings())
    assert found["guard"]["level"] == "warn"
    assert "slower" in found["guard"]["says"]


def test_without_settings_only_the_machine_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "only this machine was checked" in said
    assert "-> `weir up` makes one" in said
    assert run(["doctor", "--no-such-flag"]) == 2


def test_without_settings_an_embedder_is_not_taken_for_a_model_that_generates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export_tiny(tmp_path / ".weir")
    make_prompt_release(tmp_path / ".weir" / "releases")
    monkeypatch.chdir(tmp_path)
    run(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [one["says"] for one in found if one["check"] == "release"] == ["faq version 1"]
