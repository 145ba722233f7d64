"""The memory of a process, as Linux tells it."""

import re
import time
from pathlib import Path


def resident_mib(pid: int) -> float:
    """What it holds now, in MiB."""
    return _status_mib(pid, "VmRSS")


def peak_mib(pid: int) -> float:
    """The most that it has held since `forget_peak`, in MiB."""
    return _status_mib(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let the peak begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def settled_mib(pid: int, enough_mib: float, wait_s: float) -> float:
    """What it holds, in MiB, once that is little enough, or when `wait_s` is over."""
    ends_s = time.monotonic() + wait_s
    while (now_mib := resident_mib(pid)) > enough_mib and time.monotonic() < ends_s:
        time.sleep(0.1)
    return now_mib


def _status_mib(pid: int, name: str) -> float:
    line = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert line is not None
    return int(line[1]) / 1024
