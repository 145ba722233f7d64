"""Work of a process beside that tests have done: `python -m tests.plumbing.beside.acting`."""

import os
import time
from typing import Any

from services.plumbing.beside.work import Work, idle, serve

THREADS = 2


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
        case "pid":
            return os.getpid()
    raise NotImplementedError(action)


def start(setup: str) -> tuple[Work, int]:
    if setup == "idle":
        idle()
    return act, THREADS


if __name__ == "__main__":
    serve(start)
