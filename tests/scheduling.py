"""How a run in several processes is shared out: what stays together, what begins first, and what
one process does before the others begin."""

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from xdist.scheduler.loadfile import LoadFileScheduling

APART = ("tests/chaos/test_chaos.py", "tests/events/model/test_model.py")
"""Files of few tests that take long, each with processes of its own."""

TOGETHER = ("tests/security/", "tests/e2e/")
"""Folders of which all tests share one girih."""

FIRST = (
    *TOGETHER,
    *APART,
    "tests/cli/test_up.py",
    "tests/events/test_request_memory.py",
    "tests/distributions/",
    "tests/lattice/distributed/",
    "tests/gateway/accounts/test_logins.py",
)
"""What takes longest in one process, in that order: whatever is long and begins last, others wait
for."""

_LAST = Path(__file__).with_name("test_security_md.py")
"""What is collected last in the folder of the tests."""


def compile_once(paths: Sequence[str]) -> None:
    """Where tests were never imported, as in a fresh clone, let one process import all in `paths`.

    Processes that begin together import the same modules at the same time, and each compiles all
    of them: the tests, the product, and the packages of a new environment. What one has compiled
    the others find.
    """
    if sys.dont_write_bytecode or is_compiled(_LAST):
        return
    options = ["--numprocesses", "0", "--collect-only", "--quiet", "-p", "no:cacheprovider"]
    # What cannot be imported is reported by those that run it.
    subprocess.run(
        [sys.executable, "-m", "pytest", *options, *paths], stdout=subprocess.DEVNULL, check=False
    )


def is_compiled(test_file: Path) -> bool:
    """Whether this pytest has imported the file once, and this Python will find what it made."""
    made = Path(cache_from_source(str(test_file)))
    return made.with_name(f"{made.stem}-pytest-{pytest.__version__}.pyc").exists()


class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Tests of a scope run in one process, one after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(nodeid: str) -> str:
    """What a test stays together with: its file, unless its folder shares more or it none."""
    if nodeid.startswith(APART):
        return nodeid
    together = (folder for folder in TOGETHER if nodeid.startswith(folder))
    return next(together, nodeid.partition("::")[0])


def longest_first(items: list[pytest.Item]) -> None:
    """Sort what was collected; what is equally long stays in its order."""
    items.sort(key=lambda item: _place(item.nodeid, FIRST))


def _place(nodeid: str, starts: Sequence[str]) -> int:
    places = (place for place, start in enumerate(starts) if nodeid.startswith(start))
    return next(places, len(starts))
