"""The folders that workers of this machine put away what does not fit their memory in.

Each is locked for as long as the process lives that has it, so one whose process was killed is told
from one that is in use, by whoever starts next.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "girih-workers-"
_TRIES_MAX = 10


class WorkersFolder:
    """A folder of this process, until it is removed."""

    def __init__(self) -> None:
        """Raises OSError where none can be made."""
        self.path, self._lock = _begun()

    def remove(self) -> None:
        """Keep nothing of it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_left() -> None:
    """Remove the folders whose processes have gone without doing so."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # another user's, or gone by now
        try:
            if os.fstat(lock).st_uid == os.getuid() and _is_locked(lock):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _begun() -> tuple[str, int]:
    """A new folder, and its lock. One may be removed before it is locked: then the next one."""
    for _ in range(_TRIES_MAX):
        path = tempfile.mkdtemp(prefix=_PREFIX)
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        if _is_locked(lock) and Path(path).exists():
            return path, lock
        os.close(lock)
    raise OSError("no folder for workers can be made: each is removed at once")


def _is_locked(lock: int) -> bool:
    """Whether a folder is ours now. The system lets go of it with the last process that has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
