"""How a run in several processes is shared out: what stays together, and what begins first."""

from collections.abc import Sequence

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
