"""A server as it was at a moment, from a base backup and the write-ahead log behind it."""

import shlex
import shutil
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cli import exit_codes
from cli.backups import taking
from cli.backups.repository import BaseBackup, Repository
from cli.backups.tools import Tools
from cli.failure import Failed
from cli.local.postgres import EmbeddedPostgres, PostgresError

_SETTINGS: Final = (
    "restore_command",
    "recovery_target_time",
    "recovery_target_action",
    "recovery_target_timeline",
    "hot_standby",
)
_RECOVERY_S: Final = 24 * 60 * 60.0
"""As long as a large log may take to be applied."""


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """A server that was restored, and stopped again."""

    data: Path
    backup: BaseBackup
    duration_s: float
    last_commit_at: str
    """Of the last transaction that was applied, by the clock of the server that is lost; empty
    when there was none behind the base backup."""


def recover(
    tools: Tools, repository: Repository, data: Path, *, at: datetime | None = None
) -> Recovered:
    """Make the data directory `data`, which must not be there, of the newest base backup that
    fits, with all that was committed until `at`, or all that was kept.

    Raises Failed, also when the log ends before `at`; then nothing is left.
    """
    if data.exists():
        raise Failed(f"{data} is there already: restore into a new folder", exit_codes.CANTCREAT)
    began_s = time.monotonic()
    backup = repository.newest(at)
    taking.verify(tools, repository.data(backup))
    new = data.with_name(f"{data.name}.restoring")
    shutil.rmtree(new, ignore_errors=True)
    try:
        data.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copytree(repository.data(backup), new, symlinks=True)
        _report(new, repository, at)
        last_commit_at = _replay(new)
        new.rename(data)
    except OSError as error:
        raise Failed(f"{new} cannot be written: {error}", exit_codes.IOERR) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
        for suffix in (".lock", ".log"):
            new.with_name(f"{new.name}{suffix}").unlink(missing_ok=True)
    return Recovered(
        data=data,
        backup=backup,
        duration_s=round(time.monotonic() - began_s, 3),
        last_commit_at=last_commit_at,
    )


def _report(data: Path, repository: Repository, at: datetime | None) -> None:
    """Say to the server what it is to do when it starts."""
    data.chmod(0o700)
    segment = shlex.quote(str(repository.wal)) + "/%f"
    # The last segment is the one that was being received.
    command = f'cp {segment} "%p" 2>/dev/null || cp {segment}.partial "%p" 2>/dev/null'
    settings = {
        "restore_command": command,
        "recovery_target_action": "promote",
        "recovery_target_timeline": "latest",
        # Or it says that it is ready as soon as somebody may read, long before all is applied.
        "hot_standby": "off",
        **({"recovery_target_time": at.isoformat()} if at is not None else {}),
    }
    with (data / "postgresql.auto.conf").open("a") as file:
        for name, value in settings.items():
            quoted = value.replace("'", "''")
            print(f"{name} = '{quoted}'", file=file)
    (data / "recovery.signal").touch(mode=0o600)


def _replay(data: Path) -> str:
    """Have the server apply what there is, and end it as an ordinary one; answers when the last
    commit was."""
    postgres = EmbeddedPostgres(data, start_timeout_s=_RECOVERY_S)
    try:
        with postgres:
            for name in _SETTINGS:
                postgres.execute(f"ALTER SYSTEM RESET {name}")
            return postgres.execute("SELECT coalesce(pg_last_xact_replay_timestamp()::text, '')")
    except PostgresError as error:
        message = "the log that was kept ends before that moment, or is damaged"
        raise Failed(f"{message}: {error}", exit_codes.DATAERR) from error
