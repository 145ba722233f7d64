"""This version of the events service, beside another one in a worktree of its own.

Each version has a process that drives its service, all from its own tree, on a database of its
own. They take turns, round by round, so that what else the machine does meets both.

    git worktree add --detach /tmp/before 4bd0e37
    cd /tmp/before
    python3 -m venv .venv && .venv/bin/pip install -r requirements.txt -r requirements-bench.txt
    .venv/bin/python -m girih
    cd -
    python -m bench.versions /tmp/before [--rounds 9] [--load batches]

CPU is that of the service's process and of its database's, in microseconds an event appended, or
read by `--load reads`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bench.serving import Service, event, events_service, run, seconds
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub

EVENTS_PER_STREAM = 5


class Load(NamedTuple):
    """What is appended in one round."""

    callers: int
    request_count: int
    events_per_request: int


LOADS = {
    "batches": Load(4, 40, 1_000),
    "one": Load(1, 600, 1),
    "singles": Load(64, 6_000, 1),
    "crowd": Load(256, 6_000, 1),
}
READS = "reads"
"""Reads the whole log, which is filled first."""
_READ_COUNT = 100_000
_FILL = Load(4, _READ_COUNT // 1_000, 1_000)

FIGURES = ("us_per_event", "service_cpu_us", "database_cpu_us")

Figures = Mapping[str, float]


def main(other: Path, loads: Sequence[str], rounds: int) -> None:
    """Print each version's figures and their ratios."""
    versions = {"other": _worker(other), "this": _worker(Path.cwd())}
    for load in loads:
        measured: dict[str, list[Figures]] = {name: [] for name in versions}
        for number in range(rounds + 1):
            for name, worker in versions.items():
                figures = _ask(worker, load)
                if number:
                    measured[name].append(figures)
        _report(load, measured["other"], measured["this"])
    for worker in versions.values():
        assert worker.stdin is not None
        worker.stdin.close()
        worker.wait(timeout=60)


def _worker(tree: Path) -> "subprocess.Popen[str]":
    """A process with the modules of `tree`, all but this one, and with its environment."""
    python = tree.resolve() / ".venv" / "bin" / "python"
    return subprocess.Popen(
        [python, "-P", __file__, "--work"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": _path_behind(tree)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _path_behind(tree: Path) -> str:
    """Where Python looks: in `tree` first, so that all but this module is from there."""
    return os.pathsep.join(filter(None, [str(tree.resolve()), os.environ.get("PYTHONPATH")]))


def _ask(worker: "subprocess.Popen[str]", load: str) -> Figures:
    assert worker.stdin is not None
    assert worker.stdout is not None
    print(load, file=worker.stdin, flush=True)
    for line in worker.stdout:
        if line.startswith("{"):
            figures: Figures = json.loads(line)
            return figures
    raise RuntimeError("the other version's process ended")


def _report(load: str, other: Sequence[Figures], this: Sequence[Figures]) -> None:
    for figure in FIGURES:
        before, now = ([one[figure] for one in of] for of in (other, this))
        middle = statistics.median(before), statistics.median(now)
        print(
            f"{load:8} {figure:16} {middle[0]:8.1f} -> {middle[1]:8.1f}  ratio of medians"
            f" {middle[1] / middle[0]:.3f}, of minima {min(now) / min(before):.3f}",
            flush=True,
        )


async def work() -> int:
    """Run a load for each line of the standard input, and answer its figures in a line."""
    async with events_service() as service:
        for number, line in enumerate(sys.stdin):
            name = line.strip()
            measured = _read(service) if name == READS else _append(service, LOADS[name], number)
            print(json.dumps(await measured), flush=True)
    return 0


async def _append(service: Service, load: Load, number: int) -> Figures:
    events = EventStoreServiceStub(service.channel)
    append = partial(events.Append, metadata=service.caller.metadata)
    size = load.events_per_request
    requests = [
        pb.AppendRequest(
            events=[
                event(f"{number}-{place // EVENTS_PER_STREAM}")
                for place in range(index * size, (index + 1) * size)
            ]
        )
        for index in range(load.request_count)
    ]
    steps = [partial(append, one) for one in requests]
    return await _figures(steps, load.callers, load.request_count * size)


async def _read(service: Service) -> Figures:
    """Reads the log as bytes: what parsing them takes is the reader's."""
    read_bytes: Any = service.channel.unary_stream(
        "/girih.events.v1.EventStoreService/Read",
        request_serializer=pb.ReadRequest.SerializeToString,
        response_deserializer=None,
    )
    events = EventStoreServiceStub(service.channel)
    log = await events.GetLog(pb.GetLogRequest(), metadata=service.caller.metadata)
    if log.head_position < _READ_COUNT:
        await _append(service, _FILL, 0)

    async def read() -> None:
        async for _ in read_bytes(pb.ReadRequest(), metadata=service.caller.metadata):
            pass

    return await _figures([read], 1, _READ_COUNT)


async def _figures(
    steps: Sequence[Callable[[], Awaitable[object]]], callers: int, event_count: int
) -> Figures:
    before = _cpu_s()
    taken_s = await seconds(steps, callers=callers)
    after = _cpu_s()
    micros = 1e6 / event_count
    return {
        "us_per_event": micros * taken_s,
        "service_cpu_us": micros * (after["service"] - before["service"]),
        "database_cpu_us": micros * (after["database"] - before["database"]),
    }


def _cpu_s() -> dict[str, float]:
    """What the processes that this one started have used so far, in seconds."""
    used = {"service": 0.0, "database": 0.0}
    for pid in descendants_of(os.getpid()):
        folder = Path("/proc", str(pid))
        try:
            command = (folder / "cmdline").read_text()
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks = int(fields[11]) + int(fields[12])
        whose = "service" if "services.events" in command else "database"
        used[whose] += ticks / os.sysconf("SC_CLK_TCK")
    return used


def descendants_of(pid: int) -> Iterator[int]:
    """The processes that a process started, and those started."""
    pending = [pid]
    while pending:
        pid = pending.pop()
        for task in Path("/proc", str(pid), "task").glob("*/children"):
            children = [int(child) for child in task.read_text().split()]
            yield from children
            pending += children


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, nargs="?", help="a worktree of the other version")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--load", choices=[*LOADS, READS], help="one of them alone")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        sys.exit(run(work()))
    if arguments.other is None:
        parser.error("name the worktree of the other version")
    main(arguments.other, [arguments.load] if arguments.load else [*LOADS, READS], arguments.rounds)
