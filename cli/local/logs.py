"""The log files of child processes: their end, their growth, and their copy on a terminal."""

import heapq
import re
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
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
        shutil.copyfile(path, _aside(path))
        with path.open("r+b") as file:
            file.truncate()
    except FileNotFoundError:
        return


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


class Follower:
    """Reads what is appended to a log, from its present end on, in whole lines; also those that
    were moved aside meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def last_lines(self, line_count_max: int) -> list[str]:
        """The last whole lines, also of what was moved aside; `new_lines` goes on behind them."""
        lines: deque[str] = deque(maxlen=line_count_max)
        for path in (_aside(self._path), self._path):
            self._offset = 0
            lines.extend(self._lines(path))
        return list(lines)

    def new_lines(self) -> Iterator[str]:
        if self._path.exists() and self._path.stat().st_size < self._offset:
            yield from self._lines(_aside(self._path))
            self._offset = 0
        yield from self._lines(self._path)

    def _lines(self, path: Path) -> Iterator[str]:
        with suppress(FileNotFoundError), path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield line.decode(errors="replace").rstrip()


def merged(lines_by_name: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """The lines of several logs in the order of their times, each with its log's name.

    A line without a time belongs to the one before. Times of day are told apart over midnight
    from the end backwards: the last day of each log is the same.
    """
    timed = [
        [(moment, name, line) for moment, line in zip(_moments(lines), lines, strict=True)]
        for name, lines in lines_by_name.items()
    ]
    for _moment, name, line in heapq.merge(*timed, key=lambda entry: entry[0]):
        yield name, line


_TIME_OF_DAY = re.compile(r"\b(\d\d:\d\d:\d\d(?:\.\d{1,6})?)")
_NEAR_THE_START = 400
"""A time stands at the start of a line, or as a member of its JSON."""


def _moments(lines: Sequence[str]) -> list[tuple[int, str]]:
    times, last = [], ""
    for line in lines:
        match = _TIME_OF_DAY.search(line, 0, _NEAR_THE_START)
        last = match[1] if match else last
        times.append(last)
    day, later, moments = 0, "", []
    for time in reversed(times):
        # Much later than the line behind it: it was yesterday.
        if later and time[:2] > later[:2] and int(time[:2] or 0) - int(later[:2]) > _HALF_A_DAY_H:
            day -= 1
        later = time or later
        moments.append((day, time))
    return moments[::-1]


_HALF_A_DAY_H = 12
