"""What files hold, read again when they change. Knows not what is in them."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from services.plumbing.errors import CannotRun
from services.plumbing.logging import get_logger

T = TypeVar("T")

REREAD_INTERVAL_S: Final = 2.0
"""How often files are looked at, and so the longest that a change stays unseen."""

_log = get_logger("files")


class Watched(Generic[T]):
    """A value made from files. A new version that cannot be read leaves the one before."""

    def __init__(self, what: str, paths: Sequence[Path], read: Callable[[], T]) -> None:
        """Read the files now; `read` raises a `CannotRun` that says what is wrong with them."""
        self._what = what
        self._paths = tuple(paths)
        self._read = read
        self._version = self._look()  # before reading: a change in between is seen later
        self._refused: object = None
        self._looking = threading.Lock()
        self.current = read()

    async def watch(self, interval_s: float = REREAD_INTERVAL_S) -> None:
        """Look at the files for ever, in a thread; a task's work."""
        import asyncio  # not before: the command reads keys and watches none

        while True:
            await asyncio.sleep(interval_s)
            await self.reread()

    async def reread(self) -> bool:
        """Look once, in a thread; whether there is a new value."""
        import asyncio

        return await asyncio.to_thread(self.look_again)

    def look_again(self) -> bool:
        """Look once, here and now; whether there is a new value."""
        # One at a time: what was read first would take the place of what was read last.
        with self._looking:
            version = self._look()
            if version == self._version:
                return False
            try:
                self.current = self._read()
            except CannotRun as error:
                self._refuse(version, error)
                return False
            self._version = version
        _log.info("read again", what=self._what)
        return True

    def _refuse(self, version: object, error: CannotRun) -> None:
        """Tell once; it is tried again, since files are not always wrong for what they hold."""
        if version != self._refused:
            self._refused = version
            _log.error("not taken, the one before stays", what=self._what, problem=str(error))

    def _look(self) -> tuple[tuple[int, ...], ...]:
        return tuple(_version(path) for path in self._paths)


def _version(path: Path) -> tuple[int, ...]:
    try:
        status = os.stat(path)  # noqa: PTH116 - follows links, as secrets of Kubernetes are
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
