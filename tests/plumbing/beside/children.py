"""The processes beside a test, by what they run."""

import contextlib
from pathlib import Path


def children_that_run(module: str) -> list[int]:
    """The ids of this process's children that were started to run a module."""
    pids = []
    for thread in Path("/proc/self/task").iterdir():
        for pid in (thread / "children").read_text().split():
            with contextlib.suppress(FileNotFoundError):
                if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    pids.append(int(pid))
    return pids
