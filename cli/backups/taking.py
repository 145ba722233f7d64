"""Takes base backups, keeps the write-ahead log, and forgets what is old."""

import signal
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cli import exit_codes
from cli.backups.repository import BaseBackup, Repository
from cli.backups.tools import Tools
from cli.failure import Failed
from cli.local import process
from cli.local.logs import bound, tail
from girih.backoff import Backoff

SLOT: Final = "girih_archive"
"""Keeps the write-ahead log on the server until it is here. `max_slot_wal_keep_size` of the
server bounds how much that may be."""

_STATUS_S: Final = 1
_RETRY_MIN_S: Final = 0.5
_RETRY_MAX_S: Final = 30.0
_STEADY_S: Final = 10.0
_POLL_S: Final = 0.2


def take_base(tools: Tools, url: str, repository: Repository) -> BaseBackup:
    """Copy the whole server while it serves, and see that the copy is what the server sent.

    Needs a login that may replicate. Raises Failed, with no backup made.
    """
    repository.prepare()
    began_s, began = time.monotonic(), _now(tools, url)
    name = f"{began:%Y%m%dT%H%M%S.%fZ}"
    data = repository.new(name)
    tools.run(
        "pg_basebackup",
        *("--dbname", url, "--pgdata", str(data), "--format=plain", "--wal-method=stream"),
        *("--checkpoint=fast", "--manifest-checksums=SHA256", "--no-password"),
    )
    verify(tools, data)
    backup = BaseBackup(
        name=name,
        began_at=began.isoformat(),
        ended_at=_now(tools, url).isoformat(),
        first_segment=_first_segment(data),
        byte_count=sum(path.stat().st_size for path in data.rglob("*") if path.is_file()),
        duration_s=round(time.monotonic() - began_s, 3),
        server_version=tools.query(url, "SHOW server_version"),
    )
    repository.add(backup)
    return backup


def verify(tools: Tools, data: Path) -> None:
    """See that each file is the one that the server sent, and the write-ahead log beside it can
    be read. Raises Failed, naming the file that is not."""
    # Told of the programs beside it: it reads the log with one of them.
    tools.run("pg_verifybackup", "--exit-on-error", str(data))


def archive(
    tools: Tools,
    url: str,
    repository: Repository,
    *,
    is_over: Callable[[], bool],
    on_trouble: Callable[[str], None],
) -> None:
    """Keep the write-ahead log of the server, as it is written, until `is_over`.

    What the server loses is what it has not sent yet: mostly nothing that is older than some
    milliseconds. Goes on where it was, however often it or the server is killed.
    """
    repository.prepare()
    log = repository.folder / "archive.log"
    backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S)
    while not is_over():
        bound(log)
        offset = log.stat().st_size if log.exists() else 0
        began_s = time.monotonic()
        _receive(tools, url, repository, log, is_over)
        if is_over():
            return
        on_trouble(tail(log, offset).splitlines()[-1])
        if time.monotonic() - began_s > _STEADY_S:
            backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S)
        _sleep(backoff.next_s(), is_over)


def _receive(
    tools: Tools, url: str, repository: Repository, log: Path, is_over: Callable[[], bool]
) -> None:
    """One connection to the server, until it ends or is to."""
    own = ("--dbname", url, "--slot", SLOT, "--no-password")
    directory = repository.folder
    making = tools.begin(
        "pg_receivewal", *own, "--create-slot", "--if-not-exists", directory=directory, log=log
    )
    if _ended(making, is_over) != 0:
        return
    receiving = tools.begin(
        "pg_receivewal",
        *own,
        *("--directory", str(repository.wal), "--synchronous", "--no-loop"),
        *("--status-interval", str(_STATUS_S)),
        directory=directory,
        log=log,
    )
    _ended(receiving, is_over)


def _ended(child: process.Child, is_over: Callable[[], bool]) -> int:
    """The exit code of a child, which is ended when it is over."""
    while child.poll() is None:
        if is_over():
            process.end(child, (signal.SIGINT, signal.SIGKILL), timeout_s=_STEADY_S)
        time.sleep(_POLL_S)
    return int(child.returncode)


def prune(tools: Tools, repository: Repository, keep: int) -> Sequence[BaseBackup]:
    """Forget all base backups but the newest, and the write-ahead log that only they need."""
    if keep < 1:
        raise Failed("at least one base backup must stay", exit_codes.USAGE)
    backups = repository.backups()
    for backup in backups[:-keep]:
        repository.remove(backup)
    kept = backups[-keep:]
    if kept:
        oldest = min(backup.first_segment for backup in kept)
        tools.run("pg_archivecleanup", str(repository.wal), oldest)
    return backups[:-keep]


def _first_segment(data: Path) -> str:
    for line in (data / "backup_label").read_text().splitlines():
        if line.startswith("START WAL LOCATION"):
            return line.rpartition("file ")[2].rstrip(")")
    raise Failed(f"{data} has no backup_label that says where it begins", exit_codes.DATAERR)


def _now(tools: Tools, url: str) -> datetime:
    """By the server's clock, which recovery tells times by."""
    seconds = tools.query(url, "SELECT extract(epoch FROM clock_timestamp())")
    return datetime.fromtimestamp(float(seconds), UTC)


def _sleep(duration_s: float, is_over: Callable[[], bool]) -> None:
    until_s = time.monotonic() + duration_s
    while time.monotonic() < until_s and not is_over():
        time.sleep(_POLL_S)
