"""A terminal for tests: what a program shows on it, and what somebody types."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.processes import ROOT

_ROWS = 50
_SIZE = frozenset({"COLUMNS", "LINES"})
"""Variables that would be believed more than the terminal."""


@dataclass
class Terminal:
    """One program on a terminal. What it shows is kept."""

    child: "subprocess.Popen[bytes]"
    handle: int
    shown: str = ""

    def type(self, keys: str) -> None:
        os.write(self.handle, keys.encode())

    def read_until(self, words: str, within_s: float = 60.0) -> None:
        """Read on until it has shown the words; they are an error that do not come."""
        deadline = time.monotonic() + within_s
        while words not in self.shown:
            assert time.monotonic() < deadline, self.shown
            assert self._read_more(), self.shown

    def read_all(self) -> int:
        """Read to its end, and answer its exit code."""
        while self._read_more():
            pass
        return self.child.wait(timeout=30)

    def _read_more(self, within_s: float = 60.0) -> bool:
        ready, _, _ = select.select([self.handle], [], [], within_s)
        assert ready, self.shown
        try:
            piece = os.read(self.handle, 65_536)
        except OSError:  # Linux says so when nobody holds the other side any more
            piece = b""
        self.shown += piece.decode().replace("\r\n", "\n")
        return bool(piece)


@contextmanager
def running(
    words: Sequence[str], environ: Mapping[str, str], *, columns: int = 80
) -> Iterator[Terminal]:
    """A program on a terminal of so many columns, ended with the block."""
    handle, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
    child = subprocess.Popen(
        [sys.executable, "-c", _OWN_THE_TERMINAL, *words],
        cwd=ROOT,
        env={name: value for name, value in environ.items() if name not in _SIZE},
        stdin=other,
        stdout=other,
        stderr=other,
        start_new_session=True,
    )
    os.close(other)
    try:
        yield Terminal(child, handle)
    finally:
        child.kill()
        child.wait(timeout=30)
        os.close(handle)


_OWN_THE_TERMINAL = (
    "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Whoever starts a session has no terminal until it takes one: then Ctrl-C is for it. Shells have
what they start in the background ignore it."""
