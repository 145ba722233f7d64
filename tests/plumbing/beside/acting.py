"""Work of a process beside that tests have done: `python -m tests.plumbing.beside.acting`."""

import os
import threading
import time
from dataclasses import dataclass
from typing import Any

from services.plumbing.beside.work import NICENESS_MAX, Work, serve, stand_back

THREADS = 2
BEHIND = 7
"""How nice work is that stands back."""

packed_by: list[int] = []
"""The threads that packed what is `Traced`."""


@dataclass
class Traced:
    """Tells which threads packed and unpacked it."""

    content: bytes
    unpacked_by: int = 0

    def __getstate__(self) -> bytes:
        packed_by.append(threading.get_ident())
        return self.content

    def __setstate__(self, state: bytes) -> None:
        self.content, self.unpacked_by = state, threading.get_ident()


def act(action: str, value: Any = None) -> Any:
    match action:
        case "echo":
            return value
        case "raise":
            raise ValueError(value)
        case "wait":
            time.sleep(3_600)
        case "priority":
            return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)
        case "session":
            return os.getsid(0) == os.getpid()
        case "lock":
            return threading.Lock()
        case "pid":
            return os.getpid()
    raise NotImplementedError(action)


def start(setup: str) -> tuple[Work, int]:
    if setup == "idle":
        stand_back(NICENESS_MAX)
    elif setup == "behind":
        stand_back(BEHIND)
    return act, THREADS


if __name__ == "__main__":
    serve(start)
