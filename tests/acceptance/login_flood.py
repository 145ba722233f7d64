"""Other calls, alone and beside a flood of logins."""

import asyncio
import json
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any
from uuid import uuid4

import uvloop

from tests.acceptance.http_load import Connections, Sample, request
from tests.acceptance.login_timing import PASSWORD, callers_of, login, register
from tests.processes import System

_FLOOD_CONNECTIONS_MAX = 500
_ACCOUNT_COUNT = 100
_FLOODER = "203.0.113.7"
_MEMORY_INTERVAL_S = 0.25
_WARM_UP_S = 2.0


@dataclass(frozen=True)
class Load:
    """What is offered, for how long, and how often: in turns, since no machine is alone."""

    rounds: int
    idle_s: float
    flood_s: float
    logins_per_s: float
    calls_per_s: float


@dataclass(frozen=True)
class Seen:
    """What was measured in one stretch of time."""

    samples: Mapping[str, Sequence[Sample]]
    """By kind of call."""
    gateway_cores: float
    """How many cores' time the gateway took."""

    @classmethod
    def together(cls, stretches: "Sequence[Seen]") -> "Seen":
        """What was seen in several stretches, as in one."""
        samples = {
            kind: [one for seen in stretches for one in seen.samples[kind]]
            for kind in stretches[0].samples
        }
        return cls(samples, fmean(seen.gateway_cores for seen in stretches))

    @property
    def durations_s(self) -> list[float]:
        return [one.duration_s for samples in self.samples.values() for one in samples]

    @property
    def failures(self) -> Counter[int]:
        """Statuses of calls that did not succeed."""
        statuses = [one.status for samples in self.samples.values() for one in samples]
        return Counter(status for status in statuses if status // 100 != 2)


@dataclass(frozen=True)
class Offered:
    """How a flood went."""

    samples: Sequence[Sample]
    duration_s: float
    cores: float
    """How many cores' time it took to offer it, which was not there for girih."""

    @classmethod
    def together(cls, rounds: "Sequence[Offered]") -> "Offered":
        """How several floods went, as one."""
        samples = [one for offered in rounds for one in offered.samples]
        duration_s = sum(offered.duration_s for offered in rounds)
        return cls(samples, duration_s, fmean(offered.cores for offered in rounds))


@dataclass(frozen=True)
class Flooded:
    """What was measured without a flood and with one."""

    idle: Seen
    beside: Seen
    logins: Offered
    rss_before_mib: float
    rss_max_mib: float


async def flood(system: System, load: Load, dice: random.Random, *, from_many: bool) -> Flooded:
    """Measure other calls, then the same beside logins from many addresses or from one.

    The logins come from a process of their own, with no lesser priority than girih's.
    """
    loop = asyncio.get_running_loop()
    pid = system.gateway.pid
    idle, beside, offered = [], [], []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        async with AsyncExitStack() as stack:
            calls = await _Calls.begin(stack, system, dice)
            users = await _registered(system.url)
            await loop.run_in_executor(other, _be_there)
            await calls.measure(load.calls_per_s, _WARM_UP_S)
            before_mib = _rss_mib(pid)
            highest = _Highest(pid)
            for _ in range(load.rounds):
                logins = _logins(users, load, dice, from_many=from_many)
                idle.append(await calls.measure(load.calls_per_s, load.idle_s))
                offering = loop.run_in_executor(
                    other, _offer, system.url, logins, load.logins_per_s
                )
                seen, of_round, _ = await asyncio.gather(
                    calls.measure(load.calls_per_s, load.flood_s),
                    offering,
                    highest.watch(load.flood_s),
                )
                beside.append(seen)
                offered.append(of_round)
    return Flooded(
        Seen.together(idle),
        Seen.together(beside),
        Offered.together(offered),
        before_mib,
        highest.rss_mib,
    )


class _Calls:
    """Three tenants that go about their work, each on a connection that is open already."""

    def __init__(self, system: System, dice: random.Random) -> None:
        self._system = system
        self._dice = dice
        self._callers: dict[str, tuple[Connections, Iterator[bytes]]] = {}

    @classmethod
    async def begin(cls, stack: AsyncExitStack, system: System, dice: random.Random) -> "_Calls":
        calls = cls(system, dice)
        for number, kind in enumerate(_REQUESTS, start=1):
            connections = await stack.enter_async_context(Connections(system.url, count_max=1))
            headers = await _settled(system, connections, f"caller-{number}")
            headers["x-forwarded-for"] = f"198.51.100.{number}"
            made = request("POST", "/v1/lattices", headers, {"dimensions": 3, "size": 10})
            lattice = json.loads((await connections.ask(made)).body)
            requests = _REQUESTS[kind](headers, lattice["latticeId"])
            calls._callers[kind] = connections, requests
        return calls

    async def measure(self, per_s: float, duration_s: float) -> Seen:
        share_per_s = per_s / len(self._callers)
        count = max(1, round(share_per_s * duration_s))
        began_s, spent_s = time.perf_counter(), _cpu_s(self._system.gateway.pid)
        samples = await asyncio.gather(
            *(
                connections.offer([next(requests) for _ in range(count)], share_per_s, self._dice)
                for connections, requests in self._callers.values()
            )
        )
        taken_s = _cpu_s(self._system.gateway.pid) - spent_s
        by_kind = dict(zip(self._callers, samples, strict=True))
        return Seen(by_kind, taken_s / (time.perf_counter() - began_s))


async def _settled(system: System, connections: Connections, name: str) -> dict[str, str]:
    """Register somebody, and give the headers they call with. Their plan allows all calls."""
    email = f"{name}@girih.test"
    body = {"email": email, "password": PASSWORD, "name": name}
    answer = await connections.ask(request("POST", "/auth/register", {}, body))
    registered = json.loads(answer.body)
    token = system.authority.token(
        registered["tenant"]["tenantId"], sub=f"user:{registered['user']['userId']}"
    )
    return {"authorization": f"Bearer {token}"}


Headers = Mapping[str, str]


def _reads(headers: Headers, _lattice_id: str) -> Iterator[bytes]:
    while True:
        yield request("GET", "/v1/log", headers)


def _paths(headers: Headers, lattice_id: str) -> Iterator[bytes]:
    ends = {"start": {"coordinates": [0, 0, 0]}, "goal": {"coordinates": [9, 8, 7]}}
    while True:
        yield request("POST", f"/v1/lattices/{lattice_id}:findPath", headers, ends)


def _appends(headers: Headers, _lattice_id: str) -> Iterator[bytes]:
    while True:
        event: dict[str, Any] = {"id": str(uuid4()), "stream": "work", "type": "done"}
        yield request("POST", "/v1/events:append", headers, {"events": [event]})


_REQUESTS = {"read where the log ends": _reads, "find a path": _paths, "append": _appends}


async def _registered(url: str) -> list[str]:
    users = [f"user-{number}@girih.test" for number in range(_ACCOUNT_COUNT)]
    async with Connections(url, count_max=1) as connections:
        await register(connections, users)
    return users


def _logins(users: list[str], load: Load, dice: random.Random, *, from_many: bool) -> list[bytes]:
    """Of ten logins six are of nobody, three have a wrong password, and one is right."""
    addresses = callers_of(dice)
    made = []
    for _ in range(round(load.logins_per_s * load.flood_s)):
        address = next(addresses) if from_many else _FLOODER
        kind = dice.randrange(10)
        email = f"none-{dice.randrange(10**9)}@girih.test" if kind < 6 else dice.choice(users)
        made.append(login(email, PASSWORD if kind == 9 else "not-the-password-2718", address))
    return made


def _offer(url: str, logins: Sequence[bytes], per_s: float) -> Offered:
    """In a process of its own."""
    began_s, spent_s = time.perf_counter(), _own_cpu_s()
    samples = uvloop.run(_offered(url, logins, per_s))
    duration_s = time.perf_counter() - began_s
    return Offered(samples, duration_s, (_own_cpu_s() - spent_s) / duration_s)


async def _offered(url: str, logins: Sequence[bytes], per_s: float) -> list[Sample]:
    async with Connections(url, _FLOOD_CONNECTIONS_MAX) as connections:
        return await connections.offer(logins, per_s, random.Random(1))


def _be_there() -> None:
    """Has the other process start, and import what it needs, before anything is measured."""


class _Highest:
    """The most memory that a process was seen to hold."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.rss_mib = 0.0

    async def watch(self, duration_s: float) -> None:
        ends_s = time.monotonic() + duration_s
        while time.monotonic() < ends_s:
            self.rss_mib = max(self.rss_mib, _rss_mib(self._pid))
            await asyncio.sleep(_MEMORY_INTERVAL_S)


def _rss_mib(pid: int) -> float:
    """Of a process and of those beside it."""
    folder = Path(f"/proc/{pid}")
    resident = (folder / "status").read_text().partition("VmRSS:")[2].split()[0]
    children = (folder / f"task/{pid}/children").read_text().split()
    return int(resident) / 1_024 + sum(_rss_mib(int(child)) for child in children)


def _cpu_s(pid: int) -> float:
    """CPU time of a process with all its threads (see clock_getcpuclockid)."""
    return time.clock_gettime((~pid << 3) | 2)


def _own_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
