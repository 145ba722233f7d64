"""`girih up` for the tests: a data directory with ports of its own, and what runs on it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cli.local import state
from tests import asking, forked
from tests.processes import PATIENT, ROOT, free_port


@dataclass(frozen=True)
class Installation:
    """A data directory with ports of its own, for one `girih up` after another, and a person
    who uses the command on it."""

    data_dir: Path
    environ: dict[str, str]

    @classmethod
    def made(cls, data_dir: Path) -> Self:
        names = ("EVENTS", "LATTICE", "PROJECTIONS", "GATEWAY")
        ours = ("DATABASE_URL", "GIRIH_", *(f"{name}_" for name in names))
        environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        environ |= PATIENT
        environ |= {f"{name}_ADDRESS": f"127.0.0.1:{free_port()}" for name in names}
        environ |= {f"{name}_METRICS_PORT": str(free_port()) for name in names}
        environ |= {"GIRIH_CREDENTIALS": str(data_dir / "credentials.json"), "COLUMNS": "120"}
        return cls(data_dir, environ | {"GIRIH_DATA": str(data_dir)})

    @property
    def url(self) -> str:
        return f"http://{self.environ['GATEWAY_ADDRESS']}"

    def run(self, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run the command to its end, again where it is told to come back."""
        return asking.done(lambda: forked.run(words, self.environ, stdin=stdin))

    @property
    def state(self) -> state.State:
        result = state.read(self.data_dir)
        assert result is not None, "nothing is up"
        return result

    def pid(self, name: str) -> int:
        return next(child.pid for child in self.state.children if child.name == name)


@dataclass
class Up:
    """A running `girih up` and what it said until it was ready."""

    child: "subprocess.Popen[str]"
    output: str

    def read_until(self, words: str) -> None:
        """Read on to what it says, or has said: as long as the test may take."""
        assert self.child.stdout is not None
        while words not in self.output:
            line = self.child.stdout.readline()
            assert line, f"it has ended without {words!r}: {self.output}"
            self.output += line

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Its exit code, and what it said after it was ready."""
        self.child.send_signal(number)
        output, _ = self.child.communicate(timeout=60)
        return self.child.returncode, output


@contextlib.contextmanager
def running(installation: Installation) -> Iterator[Up]:
    """`girih up` once it is ready; killed after the block if it still runs."""
    child = subprocess.Popen(
        [sys.executable, "-m", "cli", "up", "--start-timeout-s", "200"],
        cwd=ROOT,
        env=installation.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert child.stdout is not None
    try:
        output = ""
        for line in child.stdout:
            output += line
            if "Ctrl-C" in line:
                break
        yield Up(child, output)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
