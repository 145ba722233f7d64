"""A person who types at a terminal that a command runs in."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.cli.terminal import running

_TIMEOUT_S = 60.0


@dataclass
class Terminal:
    """What the command shows, and where to type."""

    child: "subprocess.Popen[bytes]"
    handle: int
    shown: str = ""
    seen: int = 0
    """So much of it has been waited for."""

    def wait_for(self, text: str) -> None:
        """Read until it shows the text, behind what was waited for before."""
        deadline = time.monotonic() + _TIMEOUT_S
        while (at := self.shown.find(text, self.seen)) < 0:
            assert time.monotonic() < deadline, f"{text!r} is not shown: {self.shown}"
            self._read()
        self.seen = at + len(text)

    def type(self, line: str) -> None:
        os.write(self.handle, f"{line}\n".encode())

    def interrupt(self) -> None:
        """Ctrl-C, as the command gets it."""
        self.child.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read what it still shows; its exit code."""
        while self._read():
            pass
        return self.child.wait(timeout=_TIMEOUT_S)

    def _read(self) -> bool:
        ready, _, _ = select.select([self.handle], [], [], _TIMEOUT_S)
        try:
            part = os.read(self.handle, 65_536) if ready else b""
        except OSError:  # the other end is closed
            part = b""
        self.shown += part.decode(errors="replace").replace("\r", "")
        return bool(part)


@contextmanager
def typing(command: Sequence[str], environ: Mapping[str, str]) -> Iterator[Terminal]:
    """Run a command in a terminal of 100 columns; killed after the block if it still runs."""
    with running(command, {**environ, "TERM": "xterm"}, columns=100) as opened:
        yield Terminal(opened.child, opened.handle)
