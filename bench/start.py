"""How long `girih up` takes until it is ready, and what its processes hold when nobody calls.

python -m bench.start [--rounds 3] [--idle-s 3]

First on an empty folder, with no compiled kernel and no bytecode of Python kept: cold. Then, once
all kernels are compiled, again on what that left: warm. Whatever the environment says of bytecode,
it is kept, as it is where somebody has installed girih.

Beside the clock stands what the processes took of the CPU and how long they waited for one, since
on a machine that others use the clock tells of those. PSS shares what several processes hold
among them; RSS counts it for each.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.versions import descendants_of
from cli.local import health, state
from tests.processes import free_port

COLD_S_MAX = 10.0
WARM_S_MAX = 2.0

_ROOT = Path(__file__).resolve().parent.parent
_POLL_S = 0.01
_START_S_MAX = 300.0
_NOT_OURS = {"DATABASE_URL", "PYTHONDONTWRITEBYTECODE"}
_MIB = 1 << 10  # of the KiB that /proc tells
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Start:
    """One start, until ready."""

    seconds: float
    cpu_s: float
    waited_s: float
    """Of all threads together, for a CPU."""
    memory: Mapping[str, tuple[float, float]]
    """PSS and RSS of each member and what it started, in MiB, after idling."""


def main(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="girih-start-") as folder:
        cold = start(Path(folder), arguments.idle_s, until_compiled=True)
        report("cold", [cold], COLD_S_MAX)
        warm = [start(Path(folder), arguments.idle_s) for _ in range(arguments.rounds)]
        holds = report("warm", warm, WARM_S_MAX)
    print("idle, MiB:" + " " * 12 + "PSS       RSS")
    for name, (pss, rss) in warm[-1].memory.items():
        print(f"  {name:<16} {pss:>8.1f}  {rss:>8.1f}")
    total = [sum(column) for column in zip(*warm[-1].memory.values(), strict=True)]
    print(f"  {'all':<16} {total[0]:>8.1f}  {total[1]:>8.1f}")
    return 0 if holds and cold.seconds <= COLD_S_MAX else 1


def report(name: str, starts: Sequence[Start], seconds_max: float) -> bool:
    """Print a kind of start, of several the median; whether it is quick enough."""
    seconds, cpu_s, waited_s = (
        statistics.median(getattr(one, figure) for one in starts)
        for figure in ("seconds", "cpu_s", "waited_s")
    )
    holds: bool = seconds <= seconds_max
    print(
        f"{name}: ready after {seconds:.2f} s (at most {seconds_max:g}):"
        f" {'holds' if holds else 'MISSED'}; CPU {cpu_s:.2f} s, waited for one {waited_s:.2f} s",
        flush=True,
    )
    return holds


def start(folder: Path, idle_s: float, *, until_compiled: bool = False) -> Start:
    """Start a girih of the folder, look at it when it is ready and when it idles, and end it."""
    data_dir = folder / "data"
    with (folder / "up.log").open("ab") as log:
        began_s = time.perf_counter()
        up = subprocess.Popen(
            [sys.executable, "-m", "cli", "up", "--data", str(data_dir), *_addresses()],
            cwd=folder,
            env={
                **{name: value for name, value in os.environ.items() if name not in _NOT_OURS},
                "PYTHONPATH": str(_ROOT),
                "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
                "LATTICE_KERNEL_CACHE_DIR": str(folder / "kernels"),
            },
            stdout=log,
            stderr=log,
        )
        try:
            _wait_until_ready(up, data_dir)
            seconds = time.perf_counter() - began_s
            cpu_s, waited_s = _spent_by([up.pid, *descendants_of(up.pid)])
            if until_compiled:
                _wait_until_compiled(data_dir)
            time.sleep(idle_s)
            memory = dict(_memory(up.pid, data_dir))
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(timeout=60)
    return Start(seconds, cpu_s, waited_s, memory)


def _addresses() -> Iterator[str]:
    for name in ("gateway", "events", "lattice"):
        yield from (f"--{name}-address", f"127.0.0.1:{free_port()}")
        yield from (f"--{name}-metrics-port", "0")


def _wait_until_ready(up: "subprocess.Popen[bytes]", data_dir: Path) -> None:
    deadline = time.monotonic() + _START_S_MAX
    while time.monotonic() < deadline and up.poll() is None:
        running = state.read(data_dir)
        if running is not None and running.is_ready and running.supervisor.pid == up.pid:
            return
        time.sleep(_POLL_S)
    raise RuntimeError(f"girih up did not become ready: see {data_dir.parent / 'up.log'}")


def _wait_until_compiled(data_dir: Path) -> None:
    running = state.read(data_dir)
    assert running is not None
    deadline = time.monotonic() + _START_S_MAX
    while health.compiling(running.environ["LATTICE_ADDRESS"], running.environ):
        if time.monotonic() > deadline:
            raise RuntimeError("kernels are still being compiled")
        time.sleep(10 * _POLL_S)


def _spent_by(pids: Sequence[int]) -> tuple[float, float]:
    """What processes and their ended children took of the CPU, and waited for it, in seconds."""
    ticks = waited_ns = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
            for thread in Path(f"/proc/{pid}/task").iterdir():
                waited_ns += int((thread / "schedstat").read_text().split()[1])
        except OSError:
            continue
    return ticks / _TICKS_PER_S, waited_ns / 1e9


def _memory(up_pid: int, data_dir: Path) -> Iterator[tuple[str, tuple[float, float]]]:
    running = state.read(data_dir)
    assert running is not None
    yield "up", memory_mib([up_pid])
    for child in running.children:
        yield child.name, memory_mib([child.pid, *descendants_of(child.pid)])


def memory_mib(pids: Sequence[int]) -> tuple[float, float]:
    """PSS and RSS of several processes together, in MiB; nothing of those that have ended."""
    kib = {"Pss:": 0, "Rss:": 0}
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, rest = line.partition(" ")
            if name in kib:
                kib[name] += int(rest.split()[0])
    return kib["Pss:"] / _MIB, kib["Rss:"] / _MIB


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle-s", type=float, default=3.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(_arguments()))
