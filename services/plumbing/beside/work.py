"""What a process beside another one runs: takes one request after the other, answers each, and
ends with the process that asks.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

from services.plumbing.beside.frames import HEAD, frame, value_of

NICENESS_MAX: Final = 19
_AUTOGROUP: Final = Path("/proc/self/autogroup")

Work = Callable[..., Any]
"""Answers the arguments of a request."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer of work that raised what it does not tell."""

    error: str
    """Its class, and where it was raised. Not its message: nobody knows what that quotes."""


def serve(start: Callable[[Any], tuple[Work, int]]) -> NoReturn:
    """The work of `python -m MODULE DESCRIPTOR`: answer whoever holds the other end.

    `start` is given what the process is set up with, and tells the work and how many
    threads do it.
    """
    # A terminal tells all of its processes to stop: when this one ends says who asks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end = socket.socket(fileno=int(sys.argv[1]))
    incoming, outgoing = end.makefile("rb"), end.makefile("wb", buffering=0)
    request = _next(incoming)
    if request is not None:
        work, thread_count = start(request[1])
        answers = _Answers(work, outgoing)
        threads = ThreadPoolExecutor(thread_count, thread_name_prefix="work")
        while (request := _next(incoming)) is not None:
            threads.submit(answers.answer, *request)
    # Without waiting for work: nobody is there to be answered.
    os._exit(0)


def stand_back(niceness: int) -> None:
    """From now on have so much less of a core than others, from 0 to `NICENESS_MAX`: with that,
    run when nothing else wants the core. Threads begin as who starts them.

    SCHED_IDLE is more than the lowest priority: who wakes up takes the core at once, and the
    scheduler places others on a core as if nobody ran there. Either counts among the processes of
    one session only where Linux gives each session a share (`sched_autogroup_enabled`, as it does
    by default): PostgreSQL and the services are mostly others, before which this one would work
    with the share of who began it. So it begins a session, which stands back as far.
    """
    if niceness == 0:
        return
    os.nice(niceness)
    if sys.platform == "linux":
        if niceness == NICENESS_MAX:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with contextlib.suppress(OSError):
            os.setsid()
            _AUTOGROUP.write_text(str(niceness), encoding="ascii")


def _next(incoming: BinaryIO) -> tuple[int, Any] | None:
    """The next value and its number; None when the other end is closed."""
    try:
        head = incoming.read(HEAD.size)
        if len(head) < HEAD.size:
            return None
        number, length = HEAD.unpack(head)
        content = incoming.read(length)
    except ConnectionError:
        return None
    return (number, value_of(content)) if len(content) == length else None


class _Answers:
    """Does the work and sends what comes of it, from any thread."""

    def __init__(self, work: Work, outgoing: Any) -> None:  # noqa: ANN401 - a raw socket file
        self._work = work
        self._outgoing = outgoing
        self._turn = threading.Lock()

    def answer(self, number: int, arguments: tuple[Any, ...]) -> None:
        try:
            framed = frame(number, self._work(*arguments))
        except Exception as error:  # noqa: BLE001 - who asked is told, and the next one served
            where = "".join(traceback.format_tb(error.__traceback__))
            framed = frame(number, Failed(f"{type(error).__name__}\n{where}"))
        self._send(memoryview(framed))

    def _send(self, rest: memoryview) -> None:
        with self._turn:
            while rest:
                rest = rest[self._outgoing.write(rest) :]
