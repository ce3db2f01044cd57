"""PostgreSQL goes away and comes back while streams run: nobody who may ask notices."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.pods.conftest import GATEWAY, Rendered
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.load import Streams
from tests.support.cluster.objects import Object
from tests.support.servers import postgres_binaries

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SECRET = "weir-database"


class Postgres:
    """One server in a network namespace; what it knows survives a restart."""

    def __init__(self, binaries: Path, folder: Path, space: str, address: str) -> None:
        self._binaries, self._folder, self._space, self._address = binaries, folder, space, address
        self._user = "nobody" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
        if self._user:
            shutil.chown(folder, self._user)
        command = [binaries / "initdb", "-D", "data", "-U", "weir", "-A", "trust", "-N", "-E", "UTF8", "--no-locale"]
        subprocess.run(command, user=self._user, cwd=folder, check=True, capture_output=True, timeout=120)
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 trust\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://weir@{self._address}:5432/postgres"

    def start(self) -> None:
        options = ["-D", "data", "-k", str(self._folder), "-c", "listen_addresses=*", "-c", "fsync=off"]
        command = ["ip", "netns", "exec", self._space, "setpriv", f"--reuid={self._user}", "--clear-groups",
                   str(self._binaries / "postgres"), *options]  # fmt: skip
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while not (self._folder / ".s.PGSQL.5432").exists():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a machine's failure does; its children follow."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)
        for left in ("data/postmaster.pid", ".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
            (self._folder / left).unlink(missing_ok=True)

    def rows(self, table: str) -> int:
        command = [
            self._binaries / "psql",
            "-h",
            self._folder,
            "-U",
            "weir",
            "-At",
            "-c",
            f"select count(*) from {table}",
            "postgres",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return int(done.stdout)


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Postgres]:
    binaries = postgres_binaries()
    space, address = cluster.outsider("postgres", "databases", {})
    with tempfile.TemporaryDirectory(prefix="weir-pg-", ignore_cleanup_errors=True) as folder:
        server = Postgres(binaries, Path(folder), space, address)
        server.start()
        yield server
        server.kill()


@pytest.fixture(scope="module")
def with_store(cluster: Cluster, rendered: Rendered, database: Postgres) -> None:
    secret: Object = {"kind": "Secret", "metadata": {"name": SECRET}, "stringData": {"database-url": database.url}}
    named = f'gateway.access.database={{"name":"{SECRET}","key":"database-url"}}'
    cluster.apply([*rendered(named), secret])
    cluster.wait_settled(180)


@pytest.mark.usefixtures("with_store")
def test_a_restart_of_the_database_fails_no_stream_and_loses_no_audit_row(
    cluster: Cluster, database: Postgres, client: str, door: tuple[str, int]
) -> None:
    with Streams(client, door, 4, tokens=32, pause_s=0.1) as streams:
        cluster.wait(lambda: len(streams.outcomes) >= 8, 60)
        database.kill()
        away = time.monotonic()
        cluster.wait(lambda: streams.whole_since(away) >= 12, 60)
        database.start()
        back = time.monotonic()
        cluster.wait(lambda: streams.whole_since(back) >= 12, 60)
    assert streams.failures == []
    assert all(pod.restarts == 0 for pod in cluster.pods(GATEWAY))
    cluster.wait(lambda: database.rows("audit") >= len(streams.outcomes), 60)
    print(f"a database that went away: {len(streams.outcomes)} streams, {len(streams.failures)} failed")
