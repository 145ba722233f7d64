"""Processes of girih that find its modules imported.

Imports take most of a start, and tests start hundreds. What is forked here is a process like any
other: it has its own arguments, environment, working directory and standard streams, is `__main__`
from its first line on, and ends by itself. It finds the modules, and the compiler where kernels
are kept, as the process of the tests had them.

The process that forks can do nothing else: who has threads or connections cannot be forked.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn, TextIO

ROOT = Path(__file__).resolve().parent.parent

IMPORTED = [
    "tests.cli.ready",
    "cli.client.credentials",
    "cli.client.rest",
    "cli.client.session",
    "cli.importing.command",
    "gateway.app",
    "gateway.processes.parent",
    "h11",
    "httpcore",
    "rich.progress",
    "rich.table",
    "services.events.app",
    "services.lattice.app",
    "services.projections.app",
    "uvloop",
    "yaml",
]
"""What most processes need. They import what is missing here, as they do by themselves."""

_POLL_S = 0.01
_COMMAND_S = 120.0
_APPENDED = os.O_WRONLY | os.O_CREAT | os.O_APPEND


@dataclass(frozen=True)
class Order:
    """A process that shall be: `python -m words`. Its streams are files, written at their ends."""

    words: Sequence[str]
    environ: Mapping[str, str]
    directory: str = str(ROOT)
    stdin: str = os.devnull
    stdout: str = os.devnull
    stderr: str = os.devnull


@dataclass
class Forked:
    """A process that was started, with what is used here of `subprocess.Popen`."""

    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = _forker().ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait that many seconds at most for its end; raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(_POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        """To nobody else: until its end was seen nobody gets its number."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(order: Order) -> Forked:
    """Start a process; not known is only how it goes on."""
    pid = _forker().ask({"start": asdict(order)})
    assert pid is not None
    return Forked(pid)


def run(
    words: Sequence[str], environ: Mapping[str, str], *, stdin: str = "", directory: Path = ROOT
) -> "subprocess.CompletedProcess[str]":
    """Run the `girih` command to its end; raises subprocess.TimeoutExpired after two minutes."""
    with TemporaryDirectory() as folder:
        asked, out, err = (Path(folder, name) for name in ("stdin", "stdout", "stderr"))
        asked.write_text(stdin)
        streams = {"stdin": str(asked), "stdout": str(out), "stderr": str(err)}
        process = start(Order(["cli", *words], dict(environ), str(directory), **streams))
        try:
            code = process.wait(_COMMAND_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_COMMAND_S)
            raise
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())


@functools.cache
def _forker() -> "_Forker":
    forker = _Forker()
    atexit.register(forker.close)
    return forker


class _Forker:
    """The process that forks, asked over a socket by one thread at a time."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._socket = ours
        self._answers = ours.makefile("r")
        self._lock = threading.Lock()

    def ask(self, question: Mapping[str, object]) -> int | None:
        with self._lock:
            self._socket.sendall(f"{json.dumps(question)}\n".encode())
            answer = self._answers.readline()
        if not answer:
            raise RuntimeError(f"what forks has ended with {self._child.wait(timeout=10)}")
        number: int | None = json.loads(answer)
        return number

    def close(self) -> None:
        self._answers.close()
        self._socket.close()
        self._child.wait(timeout=10)


def _main(descriptor: int) -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=descriptor) as asked, asked.makefile("rw") as stream:
        order = _ordered(stream)
    if order is not None:
        _end(_exit_code(order))


def _ordered(stream: TextIO) -> Order | None:
    """Return in each child, with what it shall be; and without when nobody asks any more."""
    for line in stream:
        question = json.loads(line)
        if "poll" in question:
            pid, status = os.waitpid(question["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif not (answer := os.fork()):
            return Order(**question["start"])
        stream.write(f"{json.dumps(answer)}\n")
        stream.flush()
    return None


def _exit_code(order: Order) -> int:
    try:
        _become(order)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


def _end(code: int) -> NoReturn:
    """As the interpreter ends, but for taking all modules apart, which takes as long as imports."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _become(order: Order) -> None:
    modes = (os.O_RDONLY, _APPENDED, _APPENDED)
    paths = (order.stdin, order.stdout, order.stderr)
    for number, (path, mode) in enumerate(zip(paths, modes, strict=True)):
        opened = os.open(path, mode, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(order.environ)
    os.chdir(order.directory)
    sys.argv = list(order.words)
    runpy.run_module(order.words[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
