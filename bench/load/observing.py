"""What the processes of a girih take while it is under load: CPU, memory, connections, queues.

Looks every two seconds, in a thread of its own, at /proc and at the metrics.
"""

import os
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from bench.followed import cpu_s
from bench.start import memory_mib
from bench.versions import descendants_of

INTERVAL_S: Final = 2.0
_TIMEOUT_S: Final = 5.0
_ESTABLISHED: Final = "01"

GAUGES: Final = {
    "http_requests_in_flight": "requests in flight at the gateway",
    "events_sequencer_queued_events": "events that wait to be appended",
    "events_pool_waiting_calls": "calls that wait for a connection of the pool",
    "events_followers": "followers at the event store",
}
"""What is looked at of the metrics, beside the pool."""


@dataclass
class Taken:
    """What one process has taken, or several of a kind together."""

    cpu_s: float = 0.0
    memory_mib: float = 0.0
    """PSS: what several processes share is divided among them. The most at one time."""
    process_count: int = 0


@dataclass
class Seen:
    """What was seen within a while."""

    duration_s: float = 0.0
    by_name: dict[str, Taken] = field(default_factory=dict)
    connections: int = 0
    """The most at one time to the gateway's port."""
    pool_used: int = 0
    """The most connections to the database in use at one time, and how many there may be."""
    pool_max: int = 0
    acquire_count: float = 0.0
    acquire_s: float = 0.0
    """How often somebody wanted a connection of the pool, and how long all waited together."""
    most: Counter[str] = field(default_factory=Counter)
    """The highest values of `GAUGES`."""
    machine_busy: float = 0.0
    """How many cores were busy in the mean, whoever used them."""


@dataclass(frozen=True)
class Target:
    """A girih that runs here."""

    port: int
    """Of the gateway."""
    metrics_ports: Mapping[str, int]
    """Of `gateway` and `events`."""
    roots: Mapping[str, int]
    """The process that each part was started as, by name; what it started belongs to it."""


@contextmanager
def observed(target: Target, load_pids: Iterable[int]) -> Iterator[Callable[[], Seen]]:
    """Look at a girih, and at what makes the load, in the block; the function answers what was
    seen since it was called last."""
    watch = _Watch(target, list(load_pids))
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    try:
        yield watch.take
    finally:
        watch.stop.set()
        thread.join()


class _Watch:
    def __init__(self, target: Target, load_pids: list[int]) -> None:
        self.stop = threading.Event()
        self._target = target
        self._load_pids = load_pids
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._seen = Seen()
        self._began_s = time.monotonic()
        self._cpu_before = self._cpu_by_pid()
        self._busy_before_s = _machine_busy_s()
        self._acquired_before = self._acquired()

    def run(self) -> None:
        while not self.stop.wait(INTERVAL_S):
            with self._lock:
                self._look()

    def take(self) -> Seen:
        with self._lock:
            self._look()
            seen = self._seen
            seen.duration_s = time.monotonic() - self._began_s
            for pid, (name, now_s) in self._cpu_by_pid().items():
                taken = seen.by_name.setdefault(name, Taken())
                taken.cpu_s += now_s - self._cpu_before.get(pid, (name, 0.0))[1]
            seen.machine_busy = (_machine_busy_s() - self._busy_before_s) / seen.duration_s
            count, seconds = self._acquired()
            seen.acquire_count = count - self._acquired_before[0]
            seen.acquire_s = seconds - self._acquired_before[1]
            self._begin()
        return seen

    def _look(self) -> None:
        seen = self._seen
        held: Counter[str] = Counter()
        alive: Counter[str] = Counter()
        for pid, name in self._processes():
            held[name] += round(memory_mib([pid])[0])
            alive[name] += 1
        for name, mib in held.items():
            taken = seen.by_name.setdefault(name, Taken())
            taken.memory_mib = max(taken.memory_mib, mib)
            taken.process_count = max(taken.process_count, alive[name])
        seen.connections = max(seen.connections, _connections(self._target.port))
        self._look_at_metrics(seen)

    def _look_at_metrics(self, seen: Seen) -> None:
        gateway, events = self._metrics("gateway"), self._metrics("events")
        for name in GAUGES:
            seen.most[name] = max(seen.most[name], round(gateway[name] + events[name]))
        used = events["events_pool_connections"] - events["events_pool_idle_connections"]
        seen.pool_used = max(seen.pool_used, round(used))
        seen.pool_max = max(seen.pool_max, round(events["events_pool_connections_max"]))

    def _metrics(self, part: str) -> defaultdict[str, float]:
        """Each metric of a part, all its labels and processes together; none when it is away."""
        values: defaultdict[str, float] = defaultdict(float)
        with suppress(OSError):
            url = f"http://127.0.0.1:{self._target.metrics_ports[part]}/metrics"
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
                text = answer.read().decode()
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    values[sample.name] += sample.value
        return values

    def _acquired(self) -> tuple[float, float]:
        events = self._metrics("events")
        return events["database_acquire_seconds_count"], events["database_acquire_seconds_sum"]

    def _cpu_by_pid(self) -> dict[int, tuple[str, float]]:
        return {pid: (name, cpu_s(pid)) for pid, name in self._processes()}

    def _processes(self) -> Iterator[tuple[int, str]]:
        for name, root in self._target.roots.items():
            yield root, name
            for pid in _descendants(root):
                yield pid, _name_of(pid, name)
        for pid in self._load_pids:
            yield pid, "load"


def _descendants(root: int) -> list[int]:
    """None when the process, or one of those, has just ended."""
    with suppress(OSError):
        return list(descendants_of(root))
    return []


def _name_of(pid: int, part: str) -> str:
    """What a process that a part has started is called: by its module, where it has one."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if "-m" in words:
            module = words[words.index("-m") + 1]
            return f"{part}: {module.rpartition('.')[2]}"
    return part


def _connections(port: int) -> int:
    """How many connections to a port of this machine are established."""
    wanted = f":{port:04X}"
    count = 0
    with Path("/proc/net/tcp").open() as lines:
        next(lines)
        for line in lines:
            _, local, _, state, *_ = line.split(None, 4)
            count += state == _ESTABLISHED and local.endswith(wanted)
    return count


def _machine_busy_s() -> float:
    """Seconds that all cores were busy, since the machine started."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def lines(seen: Seen) -> Iterator[str]:
    """What was seen, for people."""
    yield f"  {'process':<24} {'number':>6} {'cores':>6} {'MiB':>7}"
    for name, taken in sorted(seen.by_name.items()):
        cores = taken.cpu_s / seen.duration_s
        yield f"  {name:<24} {taken.process_count:>6} {cores:>6.2f} {taken.memory_mib:>7.0f}"
    ours = sum(taken.cpu_s for taken in seen.by_name.values()) / seen.duration_s
    yield f"  cores busy: {seen.machine_busy:.2f} of {os.cpu_count()}, {ours:.2f} by these"
    yield f"  connections to the gateway: at most {seen.connections:,}"
    wait_ms = 1e3 * seen.acquire_s / max(1.0, seen.acquire_count)
    yield (
        f"  pool of the event store: at most {seen.pool_used} of {seen.pool_max} in use,"
        f" {wait_ms:.2f} ms waited in the mean"
    )
    for name, words in GAUGES.items():
        yield f"  {words}: at most {seen.most[name]:,}"
