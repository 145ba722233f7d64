"""The embedded server: it starts, stops, and survives what kills it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cli.local import postgres as embedded
from cli.local import process
from cli.local.postgres import EmbeddedPostgres, PostgresError, find_binaries
from cli.local.process import Identity
from tests.conftest import FAST
from tests.processes import with_data

ROOT = Path(__file__).resolve().parent.parent.parent

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server of the test's own, not started and without data, ended afterwards."""
    made = EmbeddedPostgres(tmp_path / "data", options=FAST)
    yield made
    made.stop()


@pytest.fixture
def server(fresh: EmbeddedPostgres) -> EmbeddedPostgres:
    """The same with data."""
    with_data(fresh.data_dir)
    return fresh


def wait_until(condition: Callable[[], bool], within_s: float = 60.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


async def test_a_test_gets_an_empty_database(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        result = await connection.fetch("SELECT 1 FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()

    assert result == []


def test_the_server_listens_on_nothing_but_its_socket(postgres: EmbeddedPostgres) -> None:
    assert postgres.execute("SHOW listen_addresses") == ""


def test_the_socket_is_within_reach_of_nobody_else(postgres: EmbeddedPostgres) -> None:
    directory = Path(postgres.execute("SHOW unix_socket_directories"))

    assert directory.stat().st_mode & 0o077 == 0


def test_text_is_unicode_and_sorts_by_code_point(postgres: EmbeddedPostgres) -> None:
    assert postgres.execute("SHOW server_encoding") == "UTF8"
    assert postgres.execute("SELECT 'Z' < 'a', 'z' < 'ä'") == "t|t"


def test_the_server_is_durable_unless_told_otherwise(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "data") as server:
        output = [
            server.execute(f"SHOW {name}")
            for name in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums")
        ]

    assert output == ["on", "on", "on", "on"]


def test_data_outlives_a_stop_and_the_url_stays(server: EmbeddedPostgres) -> None:
    url = server.start()
    server.execute("CREATE TABLE kept AS SELECT 7 AS value")
    server.stop()

    assert server.start() == url
    assert server.execute("SELECT value FROM kept") == "7"


def test_stop_leaves_no_process_and_no_socket(server: EmbeddedPostgres) -> None:
    server.start()
    pid, directory = server.pid, server.execute("SHOW unix_socket_directories")
    server.stop()

    assert pid is not None
    assert not process.is_alive(pid)
    assert not Path(directory).exists()


def test_committed_data_outlives_kill_9_of_the_server(tmp_path: Path) -> None:
    with EmbeddedPostgres(with_data(tmp_path / "data")) as server:
        for round_ in range(3):
            server.execute(f"CREATE TABLE round_{round_} AS SELECT generate_series(1, 1000)")
            server.kill()
            server.start()

        counts = [server.execute(f"SELECT count(*) FROM round_{round_}") for round_ in range(3)]

    assert counts == ["1000"] * 3


def test_a_server_killed_by_somebody_else_is_started_again(server: EmbeddedPostgres) -> None:
    server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert wait_until(lambda: not server.is_running())

    server.start()

    assert server.execute("SELECT 1") == "1"


def test_start_does_not_mind_being_called_twice(server: EmbeddedPostgres) -> None:
    server.start()
    pid = server.pid

    server.start()

    assert server.pid == pid


def test_the_server_outlives_the_thread_that_started_it(server: EmbeddedPostgres) -> None:
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()

    # Long enough for the signal that a dying parent thread would send.
    time.sleep(0.3)
    assert server.execute("SELECT 1") == "1"


@needs_proc
def test_the_server_goes_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent, pid = start_in_a_parent(tmp_path / "data")

    parent.kill()
    parent.wait()

    assert wait_until(lambda: not process.is_alive(pid))


@needs_proc
def test_an_orphan_is_ended_before_the_next_start(tmp_path: Path, server: EmbeddedPostgres) -> None:
    # As on a system where nothing tells a child that its parent died.
    parent, pid = start_in_a_parent(tmp_path / "data", death_signal=0)
    parent.kill()
    parent.wait()
    assert process.is_alive(pid)

    server.start()

    assert not process.is_alive(pid)
    assert server.execute("SELECT 1") == "1"


def start_in_a_parent(
    data_dir: Path, death_signal: int = signal.SIGINT
) -> tuple["subprocess.Popen[str]", int]:
    """A server whose parent is not this process."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from cli.local import process; from cli.local.postgres import EmbeddedPostgres\n"
        "spawn = process.spawn\n"
        "process.spawn = lambda *given, **named: spawn(\n"
        "    *given, **{**named, 'death_signal': int(sys.argv[2])})\n"
        "server = EmbeddedPostgres(Path(sys.argv[1])); server.start()\n"
        "print(server.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(data_dir), str(int(death_signal))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent.stdout as answer:  # type: ignore[union-attr]  # it is a pipe
        return parent, int(answer.readline())


@needs_proc
def test_a_killed_parents_socket_directory_goes_with_the_next_start(
    tmp_path: Path, server: EmbeddedPostgres
) -> None:
    parent, pid = start_in_a_parent(tmp_path / "data")
    left_over = Path((tmp_path / "data.lock").read_text().strip())
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not process.is_alive(pid))
    assert left_over.exists()

    server.start()

    assert not left_over.exists()


@needs_proc
def test_the_id_of_a_server_long_gone_may_belong_to_another_program(
    server: EmbeddedPostgres,
) -> None:
    server.start()
    server.stop()
    # A live process of the same user: PostgreSQL alone would refuse to start.
    stale = f"{os.getppid()}\n{server.data_dir}\n0\n5432\n/nowhere\n\n0 0\nready\n"
    (server.data_dir / "postmaster.pid").write_text(stale)

    server.start()

    assert server.execute("SELECT 1") == "1"


def test_one_data_directory_serves_one_at_a_time(server: EmbeddedPostgres) -> None:
    server.start()

    with pytest.raises(PostgresError, match="in use"):
        EmbeddedPostgres(server.data_dir).start()


def test_a_start_can_be_cancelled(fresh: EmbeddedPostgres) -> None:
    with pytest.raises(PostgresError):
        fresh.start(is_cancelled=lambda: True)

    assert not fresh.is_running()


def test_an_initdb_that_was_killed_leaves_no_half_made_data(fresh: EmbeddedPostgres) -> None:
    half = fresh.data_dir.with_name(f"{fresh.data_dir.name}.new-half")
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18")

    fresh.start()

    assert not half.exists()
    assert fresh.execute("SELECT 1") == "1"


def test_files_of_somebody_else_are_not_taken_for_data(fresh: EmbeddedPostgres) -> None:
    fresh.data_dir.mkdir(parents=True)
    (fresh.data_dir / "letter.txt").write_text("dear reader")

    with pytest.raises(PostgresError, match="holds no PostgreSQL data"):
        fresh.start()


def test_a_setting_that_postgres_refuses_is_told_with_its_log(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "data", options={**FAST, "no_such_setting": "1"})

    with pytest.raises(PostgresError, match="no_such_setting"):
        server.start()


def test_a_chosen_directory_without_binaries_is_an_error_and_not_passed_over() -> None:
    with pytest.raises(PostgresError, match="/nowhere"):
        find_binaries({"PG_BINDIR": "/nowhere"})


@pytest.mark.parametrize("major", [15])
def test_it_runs_on_the_oldest_postgresql_supported(tmp_path: Path, major: int) -> None:
    binaries = Path(f"/usr/lib/postgresql/{major}/bin")
    if not binaries.exists():
        pytest.skip(f"no PostgreSQL {major} on this machine")
    environ = {**os.environ, "PG_BINDIR": str(binaries)}

    with EmbeddedPostgres(tmp_path / "data", options=FAST, environ=environ) as server:
        assert server.execute("SHOW server_version").startswith(f"{major}.")
    # The data's own version is found without being told.
    with EmbeddedPostgres(tmp_path / "data", options=FAST) as server:
        assert server.binaries.major == major


def only(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = Identity(way=way, uid=65534, gid=65534)
    monkeypatch.setattr(embedded, "_identities", lambda: [identity])


@needs_root
def test_root_runs_it_as_nobody_where_namespaces_are_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: EmbeddedPostgres
) -> None:
    only("user", monkeypatch)
    make_reachable(tmp_path)

    fresh.start()

    assert fresh.data_dir.stat().st_uid == 65534


@needs_root
def test_root_can_change_from_one_way_to_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: EmbeddedPostgres
) -> None:
    make_reachable(tmp_path)
    ways = ("user", "namespace", "user")
    for way in ways:
        only(way, monkeypatch)
        server.start()
        server.execute(f"CREATE TABLE {way}_{time.monotonic_ns()} ()")
        server.stop()

    server.start()

    assert server.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "3"


@needs_root
def test_it_says_why_each_way_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: EmbeddedPostgres
) -> None:
    real: Any = process.run

    def refuse_namespaces(*args: Any, identity: Identity, **kwargs: Any) -> str:
        if identity.way == "namespace":
            raise process.LaunchError("unshare: Operation not permitted")
        return str(real(*args, identity=identity, **kwargs))

    monkeypatch.setattr(process, "run", refuse_namespaces)
    tmp_path.chmod(0o700)

    with pytest.raises(PostgresError) as caught:
        fresh.start()

    assert "namespace:65534:65534: unshare: Operation not permitted" in str(caught.value)
    assert "user:65534:65534: working in" in str(caught.value)


def make_reachable(path: Path) -> None:
    """Open what pytest keeps closed, so that another user gets to `path`."""
    for directory in (path, *path.parents):
        if directory.stat().st_uid == os.geteuid() and directory.stat().st_mode & 0o001 == 0:
            directory.chmod(directory.stat().st_mode | 0o011)
