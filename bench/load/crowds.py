"""The load processes from outside: started, told what happens, and ended."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.load.figures import Figures

_ROOT: Final = Path(__file__).resolve().parents[2]
_END_S: Final = 30.0


@dataclass(frozen=True)
class Load:
    """How many people come, how fast, and how long they think."""

    user_count: int
    per_s: float
    """So many come in a second, at all processes together."""
    think_s: float
    """Between two things, in the mean."""
    process_count: int


@dataclass(frozen=True)
class Proven:
    """What all load processes have to tell in the end."""

    phases: dict[str, Figures]
    """Of those who arrived, worked, and read back, by the name of the phase."""
    arrived_count: int
    """How many people could begin."""
    event_count: int
    lattice_count: int
    """How many of each were acknowledged."""
    problem_count: int
    problems: list[str]
    """Some of what is not as it was acknowledged."""


class Crowds:
    """Load processes that do everything together."""

    def __init__(self, children: list["subprocess.Popen[str]"]) -> None:
        self._children = children

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._children]

    def all_do(self, word: str) -> list[dict[str, Any]]:
        """Tell all the same at once, and wait until all have done it. Raises RuntimeError when one
        has ended instead."""
        for child in self._children:
            assert child.stdin is not None
            child.stdin.write(f"{word}\n")
            child.stdin.flush()
        return [self._done(child, word) for child in self._children]

    def prove(self) -> Proven:
        """Have all read back what was acknowledged."""
        answers = self.all_do("prove")
        return Proven(
            {
                name: Figures.sum(Figures.from_json(one["phases"][name]) for one in answers)
                for name in answers[0]["phases"]
            },
            sum(one["arrived_count"] for one in answers),
            sum(one["event_count"] for one in answers),
            sum(one["lattice_count"] for one in answers),
            sum(one["problem_count"] for one in answers),
            [problem for one in answers for problem in one["problems"]],
        )

    @staticmethod
    def _done(child: "subprocess.Popen[str]", word: str) -> dict[str, Any]:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            raise RuntimeError(f"a load process has ended with {child.wait(_END_S)} before {word}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def crowds(url: str, load: Load) -> Iterator[Crowds]:
    """Processes that share the people among them; ended with the block."""
    shares = [
        load.user_count // load.process_count + (n < load.user_count % load.process_count)
        for n in range(load.process_count)
    ]
    children = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "bench.load.crowd", url, str(share)),
                *(str(load.per_s * share / load.user_count), str(load.think_s)),
            ],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for share in shares
        if share
    ]
    try:
        yield Crowds(children)
    finally:
        _end(children)


def _end(children: list["subprocess.Popen[str]"]) -> None:
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
    ends_s = time.monotonic() + _END_S
    for child in children:
        try:
            child.wait(max(0.0, ends_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        assert child.stdout is not None
        child.stdout.close()
