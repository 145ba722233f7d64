"""A folder of backups: base backups, each with what is known of it, and the write-ahead log."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cli import exit_codes
from cli.failure import Failed

_BASES: Final = "base"
_WAL: Final = "wal"
_FACTS: Final = "backup.json"
_DATA: Final = "data"


@dataclass(frozen=True, kw_only=True)
class BaseBackup:
    """A copy of a whole server, to be completed by the write-ahead log from `first_segment` on."""

    name: str
    began_at: str
    ended_at: str
    """By the server's clock: nothing before it can be restored from this one."""
    first_segment: str
    byte_count: int
    duration_s: float
    server_version: str

    @property
    def ended(self) -> datetime:
        return datetime.fromisoformat(self.ended_at)


class Repository:
    """Base backups and the write-ahead log below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @property
    def wal(self) -> Path:
        return self.folder / _WAL

    def prepare(self) -> None:
        """Make the folders, which their owner alone can read. Raises Failed."""
        try:
            for folder in (self.folder, self.folder / _BASES, self.wal):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            message = f"{self.folder} cannot be made: {error.strerror}"
            raise Failed(message, exit_codes.IOERR) from error

    def new(self, name: str) -> Path:
        """Where a base backup is made: nobody takes it for one before `add`."""
        for left_over in (self.folder / _BASES).glob("*.new"):
            shutil.rmtree(left_over)
        return self.folder / _BASES / f"{name}.new" / _DATA

    def add(self, backup: BaseBackup) -> None:
        """Have what was made under its name be one, at once or not at all."""
        new = self.folder / _BASES / f"{backup.name}.new"
        with (new / _FACTS).open("w") as file:
            json.dump(asdict(backup), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        new.rename(self.folder / _BASES / backup.name)

    def data(self, backup: BaseBackup) -> Path:
        """The data directory that it holds."""
        return self.folder / _BASES / backup.name / _DATA

    def backups(self) -> Sequence[BaseBackup]:
        """The oldest first. Raises Failed for one whose facts cannot be read."""
        backups = []
        for path in sorted((self.folder / _BASES).glob(f"*/{_FACTS}")):
            if path.parent.suffix == ".new":
                continue
            try:
                backups.append(BaseBackup(**json.loads(path.read_text())))
            except (OSError, ValueError, TypeError) as error:
                raise Failed(f"{path} cannot be read: {error}", exit_codes.DATAERR) from error
        return sorted(backups, key=lambda backup: backup.ended)

    def newest(self, before: datetime | None = None) -> BaseBackup:
        """The newest that ended before a moment. Raises Failed."""
        fit = [one for one in self.backups() if before is None or one.ended <= before]
        if not fit:
            when = "" if before is None else f" that ended before {before.isoformat()}"
            message = f"{self.folder} holds no base backup{when}"
            raise Failed(f"{message}; make one: girih backup base", exit_codes.NOINPUT)
        return fit[-1]

    def remove(self, backup: BaseBackup) -> None:
        path = self.folder / _BASES / backup.name
        # Renamed first: what is removed half is no backup.
        leaving = path.with_name(f"{path.name}.new")
        path.rename(leaving)
        shutil.rmtree(leaving)
