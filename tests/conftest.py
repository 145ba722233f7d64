"""A PostgreSQL and an authority for the tests, and a database for each that asks."""

import asyncio
import gc
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import hypothesis
import pytest
import structlog

from cli.local.postgres import DATABASE, EmbeddedPostgres
from services.events.postgres.database import MIGRATIONS, SCHEMA
from services.lattice.compiler import configure_compiler
from services.plumbing.postgres.migrations import migrate
from tests.authority import Authority
from tests.plumbing.certificates import CertificateAuthority
from tests.processes import with_data
from tests.scheduling import Scheduling, compile_once, longest_first

MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory."""

_MEMORY_BYTES = 6 * 2**30
"""Several times what the servers of a run, and what they write, take at once."""


def choose_temporary_folder(environ: MutableMapping[str, str], memory: Path = MEMORY) -> None:
    """Have temporary files lie in memory where that has room and runs programs, unless TMPDIR says
    where. A database has 300 files: a disk takes ten times as long to make them, and a run makes
    hundreds of databases. No test pulls the plug, so all that is synced is as safe there."""
    with suppress(OSError):
        status = os.statvfs(memory)
        has_room = status.f_bavail * status.f_frsize >= _MEMORY_BYTES
        if has_room and not status.f_flag & os.ST_NOEXEC:
            environ.setdefault("TMPDIR", str(memory))
            tempfile.tempdir = None


choose_temporary_folder(os.environ)

# Before any test imports the compiler: kernels compiled by one run serve the next.
configure_compiler(None, os.environ)

# A slow machine fails no right program; and what fails where nobody looks must fail again.
hypothesis.settings.register_profile(
    "girih", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True
)
hypothesis.settings.load_profile("girih")

HASHING = {"HASHING_MEMORY_KIB": "64"}
"""A test's passwords are quickly hashed: there are hundreds, and what a hash takes is looked at by
tests of its own."""

FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""A test's database may lie about durability, except in tests of durability."""


_KERNELS = pytest.StashKey["subprocess.Popen[bytes]"]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Where the run is shared out, compile kernels from its beginning on: on a new machine that is
    half a minute of one core, which the first tests of several processes would all wait for. The
    other core compiles modules meanwhile, before several processes would."""
    config = session.config
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        config.stash[_KERNELS] = subprocess.Popen(
            [sys.executable, "-m", "services.lattice.compiled_ahead"],
            cwd=config.rootpath,
            stdout=subprocess.DEVNULL,
        )
        compile_once(config.args)


def pytest_sessionfinish(session: pytest.Session) -> None:
    compiling = session.config.stash.get(_KERNELS, None)
    if compiling is not None:
        compiling.kill()
        compiling.wait()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays until the end: the collector of garbage looks through it neither
    meanwhile nor later, which was a fifth and a tenth of what such a process computed."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _few_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Clients of HTTP know one authority, of nobody. Reading those of the world takes each of them
    a twentieth of a second, and no test calls anybody who needs them."""
    certificates = CertificateAuthority.create(tmp_path_factory.mktemp("world") / "authority")
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("SSL_CERT_FILE", str(certificates.directory / "ca.pem"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_hashes() -> Iterator[None]:
    """Gateways that tests start hash with little."""
    with pytest.MonkeyPatch.context() as environ:
        for name, value in HASHING.items():
            environ.setenv(f"GATEWAY_{name}", value)
        yield


@pytest.fixture(scope="session", autouse=True)
def _forked_processes() -> Iterator[None]:
    """Processes that tests start find their modules imported."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tests.processes.FORKS", True)
        yield


@pytest.fixture(scope="session", autouse=True)
def _plain_tracebacks() -> None:
    """What is logged in this process is as short as in those of girih: where structlog is left to
    itself it draws each traceback with all variables, which takes seconds."""
    *processors, _ = structlog.get_config()["processors"]
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*processors, console])


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose tokens the tests call with."""
    return Authority.create(tmp_path_factory.mktemp("authority") / "keys")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A running server of this test run's own."""
    data_dir = with_data(tmp_path_factory.mktemp("postgres") / "data")
    with EmbeddedPostgres(data_dir, options=FAST) as server:
        yield server


@pytest.fixture
def empty_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a fresh, empty database, dropped afterwards."""
    with _database(postgres) as url:
        yield url


@pytest.fixture
def database_url(empty_url: str) -> str:
    """A database of the test's own: an empty one, unless its folder has others."""
    return empty_url


@pytest.fixture(scope="session")
def migrated_name(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The name of a database that has the schema of the event store, and nobody connects to."""
    with _database(postgres) as url:
        asyncio.run(migrate(url, MIGRATIONS, schema=SCHEMA))
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
def migrated_url(postgres: EmbeddedPostgres, migrated_name: str) -> Iterator[str]:
    """The URL of a fresh database with the schema of the event store, dropped afterwards. Copied:
    to migrate each anew took longer than most of the tests that ask for one."""
    with _database(postgres, f"TEMPLATE {migrated_name} STRATEGY file_copy") as url:
        yield url


@pytest.fixture
def other_url(postgres: EmbeddedPostgres, migrated_name: str) -> Iterator[str]:
    """Another one, where logs may be as well."""
    with _database(postgres, f"TEMPLATE {migrated_name} STRATEGY file_copy") as url:
        yield url


@contextmanager
def _database(postgres: EmbeddedPostgres, options: str = "") -> Iterator[str]:
    name = f"test_{secrets.token_hex(8)}"
    asyncio.run(_execute(postgres.url, f"CREATE DATABASE {name} {options}"))
    yield postgres.url.replace(f"/{DATABASE}?", f"/{name}?")
    asyncio.run(_execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, statement: str) -> None:
    """Without psql, which takes longer to start than the statement to run."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
