"""The log files of child processes: their end, their growth, and their copy on a terminal."""

import shutil
from collections.abc import Iterator
from pathlib import Path

LOG_BYTES_MAX = 16 * 1024 * 1024


def tail(path: Path, offset: int = 0, *, bytes_max: int = 4096) -> str:
    """The last of what a log holds from `offset` on."""
    try:
        with path.open("rb") as file:
            file.seek(max(offset, path.stat().st_size - bytes_max, 0))
            return file.read().decode(errors="replace").strip() or "(its log is empty)"
    except OSError:
        return "(it has no log)"


def bound(path: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
    """Move a log that has grown too large aside, as PATH.1, and let its writer go on.

    The writer keeps its file open (in append mode), so the file is copied and emptied. What
    is written in the moment between is lost, which a log of a running system can bear.
    """
    try:
        if path.stat().st_size <= bytes_max:
            return
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        with path.open("r+b") as file:
            file.truncate()
    except FileNotFoundError:
        return


class Follower:
    """Reads what is appended to a log, from its present end on, in whole lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def new_lines(self) -> Iterator[str]:
        try:
            if self._path.stat().st_size < self._offset:
                self._offset = 0  # it was moved aside
            with self._path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self._offset += len(line)
                    yield line.decode(errors="replace").rstrip()
        except FileNotFoundError:
            return
