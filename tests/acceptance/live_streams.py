"""Two thousand clients follow logs live, and two hundred of them never read.

    python -m tests.acceptance.live_streams --seconds 300

Starts a girih of its own with its default limits. Clients are raw sockets in a process of their
own, spread over tenants and users as the limits on streams want it. First all but the silent
ones follow, then the silent ones come too; the delivery times of the others must not change,
memory must stay flat, and when all have gone every descriptor must be given back within 30 s.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import grpc
import numpy as np

from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from tests.processes import Process, System, own_postgres, running_system

TENANTS, USERS_PER_TENANT = 4, 10
EVENTS_PER_S = 1.0
"""Of each tenant. Each goes to all who follow its log."""
PAD = "x" * 4_000
RELEASE_S_MAX = 30.0
_CONNECTS_AT_ONCE = 50
_SENT = b'"sentNs":'


@dataclass(frozen=True)
class Plan:
    """Who follows."""

    host: str
    port: int
    tokens: Sequence[Sequence[str]]
    """Of each tenant, one per user."""
    reader_count: int
    silent_count: int


@dataclass
class Follower(asyncio.Protocol):
    """A client of server-sent events that notes how long each was under way."""

    request: bytes
    reads: bool
    delays_s: list[float]
    is_streaming: asyncio.Event = field(default_factory=asyncio.Event)
    is_lost: bool = False
    _rest: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)
        if not self.reads:
            transport.pause_reading()
            self.is_streaming.set()

    def data_received(self, data: bytes) -> None:
        self.is_streaming.set()
        now_ns = time.monotonic_ns()
        *events, self._rest = (self._rest + data).split(_SENT)
        for start in [*events[1:], *([self._rest] if events and len(self._rest) > 20 else [])]:
            digits = start[:20].split(b",")[0].split(b"}")[0]
            self.delays_s.append((now_ns - int(digits)) / 1e9)
            self._rest = b""

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.is_streaming.set()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--clients", type=int, default=2_000)
    parser.add_argument("--silent", type=int, default=200)
    arguments = parser.parse_args()
    with (
        own_postgres() as (postgres, folder),
        running_system(postgres.url, folder) as system,
    ):
        return _prove(system, arguments.clients, arguments.silent, arguments.seconds)


def _prove(system: System, client_count: int, silent_count: int, seconds: float) -> int:
    tenants = [f"tenant-{number}" for number in range(TENANTS)]
    tokens = [
        [_user_token(system, name, user) for user in range(USERS_PER_TENANT)] for name in tenants
    ]
    host, _, port = system.url.removeprefix("http://").partition(":")
    plan = Plan(host, int(port), tokens, client_count - silent_count, silent_count)
    before = _descriptors(system)
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    clients = multiprocessing.get_context("spawn").Process(target=_follow, args=(plan, theirs))
    clients.start()
    writer = _Writer(system, tenants)
    try:
        _expect(ours, "reading")
        quiet = _phase(ours, writer, system, min(60.0, seconds / 3), "only readers")
        ours.send("silence")
        _expect(ours, "silent")
        noisy = _phase(ours, writer, system, seconds, f"and {silent_count} that never read")
        ours.send("leave")
        lost = _expect(ours, "left")
        released_s = _until(lambda: _descriptors(system) <= before + 20, RELEASE_S_MAX)
    finally:
        clients.kill()
    return _verdict(quiet, noisy, lost, released_s)


@dataclass(frozen=True)
class Phase:
    """What was seen in one stretch of time."""

    delays_s: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    rss_mib: Sequence[tuple[float, float]]
    """Of gateway and events, one after the other."""

    @property
    def p99_s(self) -> float:
        return float(np.percentile(self.delays_s, 99))

    def growth_mib(self, process: int) -> float:
        """Between the middle of the first and of the last quarter."""
        values = [both[process] for both in self.rss_mib]
        quarter = max(1, len(values) // 4)
        return float(np.median(values[-quarter:]) - np.median(values[:quarter]))


class _Writer:
    """Appends to every tenant's log, each event with the time it was sent."""

    def __init__(self, system: System, tenants: Sequence[str]) -> None:
        self._stub = EventStoreServiceStub(grpc.insecure_channel(system.events_address))
        self._system = system
        self._tenants = tenants

    def write(self) -> None:
        for tenant in self._tenants:
            payload = json.dumps({"sentNs": time.monotonic_ns(), "pad": PAD})
            event = pb.Event(stream="live", type="tick", json=payload.replace(" ", ""))
            metadata = tuple(self._system.authority.metadata(tenant))
            self._stub.Append(pb.AppendRequest(events=[event]), metadata=metadata, timeout=10)


def _phase(ours: Connection, writer: _Writer, system: System, seconds: float, name: str) -> Phase:
    """Write for so long, and look at memory meanwhile."""
    rss: list[tuple[float, float]] = []
    ends_s = time.monotonic() + seconds
    ours.send("forget")
    _expect(ours, "forgot")
    while time.monotonic() < ends_s:
        started_s = time.monotonic()
        writer.write()
        rss.append((_rss_mib(system.gateway), _rss_mib(system.events)))
        time.sleep(max(0.0, started_s + 1 / EVENTS_PER_S - time.monotonic()))
    ours.send("tell")
    delays = np.asarray(_expect(ours, "delays"))
    phase = Phase(delays, rss)
    print(
        f"{name}: {len(delays)} deliveries, p50 {np.median(delays) * 1e3:.0f} ms,"
        f" p99 {phase.p99_s * 1e3:.0f} ms; gateway {rss[0][0]:.0f} to {rss[-1][0]:.0f} MiB,"
        f" events {rss[0][1]:.0f} to {rss[-1][1]:.0f} MiB",
        flush=True,
    )
    return phase


def _verdict(quiet: Phase, noisy: Phase, lost: object, released_s: float | None) -> int:
    ratio = noisy.p99_s / quiet.p99_s
    growth = [noisy.growth_mib(process) for process in (0, 1)]
    shown = "never" if released_s is None else f"{released_s:.1f} s"
    print(f"p99 with silent clients / without: {ratio:.2f}")
    print(f"growth while they are silent: gateway {growth[0]:.0f} MiB, events {growth[1]:.0f} MiB")
    print(f"connections that were cut off: {lost}")
    print(f"descriptors given back after: {shown}")
    is_well = ratio < 1.5 and max(growth) < 30 and released_s is not None
    return 0 if is_well else 1


# ---- the clients, in their own process


def _follow(plan: Plan, parent: Connection) -> None:
    asyncio.run(_Clients(plan, parent).run())


class _Clients:
    def __init__(self, plan: Plan, parent: Connection) -> None:
        self._plan = plan
        self._parent = parent
        self._delays_s: list[float] = []
        self._readers: list[Follower] = []
        self._silent: list[Follower] = []

    async def run(self) -> None:
        self._readers = await self._connect(self._plan.reader_count, reads=True)
        self._parent.send(("reading", None))
        while True:
            asked = await asyncio.to_thread(self._parent.recv)
            if asked == "silence":
                self._silent = await self._connect(self._plan.silent_count, reads=False)
                self._parent.send(("silent", None))
            elif asked == "forget":
                self._delays_s.clear()
                self._parent.send(("forgot", None))
            elif asked == "tell":
                self._parent.send(("delays", list(self._delays_s)))
            elif asked == "leave":
                return await self._leave()

    async def _connect(self, count: int, *, reads: bool) -> list[Follower]:
        gate = asyncio.Semaphore(_CONNECTS_AT_ONCE)

        async def one(number: int) -> Follower:
            async with gate:
                return await self._open(number, reads=reads)

        return list(await asyncio.gather(*(one(number) for number in range(count))))

    async def _open(self, number: int, *, reads: bool) -> Follower:
        users = self._plan.tokens[number % TENANTS]
        token = users[(number // TENANTS) % USERS_PER_TENANT]
        request = (
            "GET /v1/streams/live/events?follow=true HTTP/1.1\r\nhost: girih\r\n"
            f"accept: text/event-stream\r\nauthorization: Bearer {token}\r\n\r\n"
        ).encode()
        connection = socket.socket()
        connection.setblocking(False)
        if not reads:
            # A normal buffer of the loopback would take minutes of events unread.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (self._plan.host, self._plan.port))
        follower = Follower(request, reads, self._delays_s)
        await loop.create_connection(lambda: follower, sock=connection)
        await asyncio.wait_for(follower.is_streaming.wait(), 60)
        return follower

    async def _leave(self) -> None:
        readers_lost = sum(follower.is_lost for follower in self._readers)
        # A connection that is not read does not notice that it was closed.
        for follower in self._silent:
            follower.transport.resume_reading()
        await asyncio.sleep(2)
        silent_lost = sum(follower.is_lost for follower in self._silent)
        for follower in [*self._readers, *self._silent]:
            follower.transport.abort()
        self._parent.send(("left", {"readers": readers_lost, "silent": silent_lost}))


# ---- looking at processes


def _user_token(system: System, tenant: str, number: int) -> str:
    subject = f"user:00000000-0000-4000-8000-{number:012d}"
    return system.authority.token(tenant, ["events.read", "events.append"], sub=subject)


def _expect(connection: Connection, name: str) -> object:
    got, value = connection.recv()
    assert got == name, f"{got} instead of {name}"
    return value


def _descriptors(system: System) -> int:
    """Of gateway and events together."""
    pids = (system.gateway.pid, system.events.pid)
    return sum(1 for pid in pids for _ in Path(f"/proc/{pid}/fd").iterdir())


def _rss_mib(process: Process) -> float:
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _until(holds: Callable[[], bool], within_s: float) -> float | None:
    """How long it took, None when it took longer."""
    started_s = time.monotonic()
    while (took_s := time.monotonic() - started_s) < within_s:
        if holds():
            return took_s
        time.sleep(0.2)
    return None


if __name__ == "__main__":
    sys.exit(main())
