"""A girih with two replicas of everything, found as in a cluster: services by a name that means
those replicas which are ready, gateways through a balancer that gives a connection to one of those.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from cli.local.postgres import EmbeddedPostgres
from tests.chaos.trouble.names import Names
from tests.chaos.trouble.proxy import Proxy, Pump
from tests.processes import (
    WITHOUT_LIMITS,
    Process,
    ending,
    events_process,
    free_port,
    gateway_process,
    lattice_process,
    projections_process,
)

DRAIN_S = 3
"""Longer than it takes for a process that is not ready to be found out, as in production."""
LOOK_EVERY_S = 1.0
HOSTS = ("127.0.0.2", "127.0.0.3")
SERVICES = ("events", "lattice", "projections")


@dataclass(frozen=True)
class Replica:
    """One process, and where it is."""

    part: str
    host: str
    process: Process


@dataclass
class Replicated:
    """All of it."""

    postgres: EmbeddedPostgres
    replicas: Sequence[Replica]
    addresses: dict[str, str]
    """Of the services, by their names."""
    url: str = ""
    """Of the balancer."""

    @property
    def processes(self) -> list[Process]:
        return [one.process for one in self.replicas]

    def of(self, part: str) -> Iterator[Replica]:
        return (one for one in self.replicas if one.part == part)


@asynccontextmanager
async def replicated_girih(
    postgres: EmbeddedPostgres, folder: Path, names: Names
) -> AsyncIterator[Replicated]:
    """Two of each, ready."""
    girih = _made(postgres, folder)
    balancer = _Balancer(girih, names)
    async with Proxy(balancer.connect, free_port()) as proxy:
        girih.url = f"http://{proxy.host}:{proxy.port}"
        # So that those who start look for the others where they will be.
        names.say(dict.fromkeys(map(_name, SERVICES), HOSTS))
        with ending(*girih.processes):
            for process in girih.processes:
                await asyncio.to_thread(process.start)
            for process in girih.processes:
                await asyncio.to_thread(process.wait_ready)
            looking = asyncio.create_task(balancer.look_for_ever())
            try:
                await balancer.looked.wait()
                yield girih
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)


def _made(postgres: EmbeddedPostgres, folder: Path) -> Replicated:
    ports = {part: free_port() for part in (*SERVICES, "gateway")}
    targets = {part: f"dns:///{_name(part)}:{ports[part]}" for part in SERVICES}
    replicas = []
    for host in HOSTS:
        at = {part: _settings(part, f"{host}:{port}") for part, port in ports.items()}
        made = {
            "events": events_process(postgres.url, folder, **at["events"])[0],
            "lattice": lattice_process(targets["events"], folder, **at["lattice"])[0],
            "projections": projections_process(
                postgres.url, targets["events"], folder, **at["projections"]
            )[0],
            "gateway": gateway_process(
                targets["events"],
                targets["lattice"],
                folder,
                **{
                    "GATEWAY_PROJECTIONS_ADDRESS": targets["projections"],
                    **WITHOUT_LIMITS,
                    **at["gateway"],
                },
            )[0],
        }
        replicas += [Replica(part, host, process) for part, process in made.items()]
    addresses = {part: targets[part] for part in SERVICES}
    return Replicated(postgres, sorted(replicas, key=_of_the_road), addresses)


def _settings(part: str, address: str) -> dict[str, str]:
    return {f"{part.upper()}_ADDRESS": address, f"{part.upper()}_DRAIN_S": str(DRAIN_S)}


def _of_the_road(replica: Replica) -> int:
    return (*SERVICES, "gateway").index(replica.part)


def _name(part: str) -> str:
    return f"{part}.girih.test"


class _Balancer:
    """Finds out who is ready, and sends nobody else anything new."""

    def __init__(self, girih: Replicated, names: Names) -> None:
        self._girih = girih
        self._names = names
        self._ready: set[int] = set()
        self._turns = count()
        self.looked = asyncio.Event()
        """Set once it is known who is ready."""

    async def connect(self) -> Pump:
        """To the next gateway that is ready. Raises OSError where none is."""
        gateways = [one for one in self._girih.of("gateway") if id(one) in self._ready]
        if not gateways:
            raise ConnectionError("no gateway is ready")
        chosen = gateways[next(self._turns) % len(gateways)]
        host, _, port = chosen.process.environ["GATEWAY_ADDRESS"].rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def look_for_ever(self) -> None:
        """Ask all replicas all the time, and have names mean those that are ready."""
        while True:
            answers = await asyncio.gather(
                *(asyncio.to_thread(_is_ready, one) for one in self._girih.replicas)
            )
            pairs = zip(self._girih.replicas, answers, strict=True)
            self._ready = {id(one) for one, is_ready in pairs if is_ready}
            self._names.say(
                {
                    _name(part): [
                        one.host for one in self._girih.of(part) if id(one) in self._ready
                    ]
                    for part in SERVICES
                }
            )
            self.looked.set()
            await asyncio.sleep(LOOK_EVERY_S)


def _is_ready(replica: Replica) -> bool:
    return replica.process.is_running and replica.process.is_ready()
