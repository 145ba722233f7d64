"""Appending and reading beside other event stores on this machine, in turns.

    python -m bench.peers [--rounds 5]

Each takes the same events from the same number of callers, and has stored them durably when it
answers. What they do for it differs:

    girih          its service over gRPC: tokens, checks, digests, ids stored once
    eventsourcing  its PostgreSQL recorder in this process, on the same PostgreSQL
    UmaDB          its server over gRPC, with files of its own and no PostgreSQL

The clients of the others block, so each caller is a thread. Absolute figures do not travel.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

import psycopg.conninfo
import umadb
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

from bench.serving import EVENT_TYPE, Service, event, events_service, run, seconds
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from tests.processes import free_port

EVENTS_PER_STREAM = 5
_CALLERS_MAX = 64
_READY_S = 30.0


class Load(NamedTuple):
    """What is appended in one round."""

    callers: int
    request_count: int
    events_per_request: int


LOADS = (Load(1, 200, 1), Load(16, 1_600, 1), Load(64, 3_200, 1), Load(4, 20, 1_000))


class Peer(Protocol):
    """A store that can be measured."""

    name: str

    async def append_s(self, load: Load) -> float:
        """How long all that takes."""

    async def read_s(self) -> tuple[int, float]:
        """How many events there are, and how long it takes to read them all."""


class Girih:
    """This one."""

    name = "girih"

    def __init__(self, service: Service) -> None:
        self._events = EventStoreServiceStub(service.channel)
        self._caller = service.caller

    async def append_s(self, load: Load) -> float:
        append = partial(self._events.Append, metadata=self._caller.metadata)
        requests = [
            pb.AppendRequest(events=[event(stream) for stream in streams])
            for streams in _streams(load)
        ]
        return await seconds([partial(append, one) for one in requests], callers=load.callers)

    async def read_s(self) -> tuple[int, float]:
        began_s, count = time.perf_counter(), 0
        read = self._events.Read(pb.ReadRequest(), metadata=self._caller.metadata)
        async for response in read:
            count += len(response.events)
        return count, time.perf_counter() - began_s


class Blocking:
    """One whose client blocks."""

    name: str

    def append(self, streams: Sequence[str]) -> Callable[[], object]:
        """What appends an event to each of these."""
        raise NotImplementedError

    def read(self) -> int:
        """Read everything, and say how much that was."""
        raise NotImplementedError

    async def append_s(self, load: Load) -> float:
        appends = [self.append(streams) for streams in _streams(load)]
        return await asyncio.to_thread(_run_all, appends, load.callers)

    async def read_s(self) -> tuple[int, float]:
        began_s = time.perf_counter()
        count = await asyncio.to_thread(self.read)
        return count, time.perf_counter() - began_s


class Eventsourcing(Blocking):
    """The package, with one aggregate a stream."""

    name = "eventsourcing"

    def __init__(self, database_url: str) -> None:
        parts = psycopg.conninfo.conninfo_to_dict(database_url)
        self._datastore = PostgresDatastore(
            dbname=str(parts["dbname"]),
            host=str(parts["host"]),
            port=str(parts.get("port", 5432)),
            user=str(parts["user"]),
            password=str(parts.get("password", "")),
            pool_size=16,
            connect_timeout=60.0,
            enable_db_functions=True,
        )
        self._recorder = PostgresApplicationRecorder(self._datastore)
        self._recorder.create_table()

    def append(self, streams: Sequence[str]) -> Callable[[], object]:
        versions: dict[str, int] = {}
        ids = {stream: uuid4() for stream in streams}
        events = []
        for stream in streams:
            version = versions[stream] = versions.get(stream, 0) + 1
            events.append(StoredEvent(ids[stream], version, EVENT_TYPE, _state()))
        return partial(self._recorder.insert_events, events)

    def read(self) -> int:
        count, start = 0, 1
        while page := self._recorder.select_notifications(start=start, limit=1_000):
            count += len(page)
            start = page[-1].id + 1
        return count

    def close(self) -> None:
        self._datastore.close()


class Uma(Blocking):
    """UmaDB, with one tag a stream."""

    name = "UmaDB"

    def __init__(self, url: str) -> None:
        self._client = umadb.Client(url)

    def append(self, streams: Sequence[str]) -> Callable[[], object]:
        events = [
            umadb.Event(event_type=EVENT_TYPE, data=_state(), tags=[stream], uuid=uuid4())
            for stream in streams
        ]
        return partial(self._client.append, events)

    def read(self) -> int:
        count = 0
        response = self._client.read()
        while batch := response.next_batch():
            count += len(batch)
        return count


async def main(rounds: int) -> int:
    """Print each peer's figures, and what girih's are of them."""
    async with _peers() as peers:
        for load in LOADS:
            measured: dict[str, list[float]] = {peer.name: [] for peer in peers}
            for number in range(rounds + 1):
                for peer in peers:
                    taken_s = await peer.append_s(load)
                    if number:
                        events = load.request_count * load.events_per_request
                        measured[peer.name].append(events / taken_s)
            _report(f"{load.events_per_request:,} an append, {load.callers} callers", measured)
        measured = {peer.name: [] for peer in peers}
        for _ in range(rounds):
            for peer in peers:
                count, taken_s = await peer.read_s()
                measured[peer.name].append(count / taken_s)
        _report("reading everything", measured)
    return 0


def _report(load: str, measured: dict[str, list[float]]) -> None:
    middle = {name: statistics.median(figures) for name, figures in measured.items()}
    ours = middle[Girih.name]
    for name, figure in middle.items():
        print(f"{load:28} {name:14} {figure:10,.0f} events/s; girih {ours / figure:.2f} of it")
    sys.stdout.flush()


@asynccontextmanager
async def _peers() -> AsyncIterator[Sequence[Peer]]:
    async with events_service() as service:
        with tempfile.TemporaryDirectory(prefix="girih-") as folder, uma_server(folder) as url:
            eventsourcing = Eventsourcing(service.database_url)
            try:
                yield [Girih(service), eventsourcing, Uma(url)]
            finally:
                eventsourcing.close()


@contextmanager
def uma_server(folder: str) -> Iterator[str]:
    """UmaDB's server with files of its own in this folder; at which URL."""
    address = f"127.0.0.1:{free_port()}"
    program = "from umadb.umadb_server_cli import main; main()"
    arguments = ["--listen", address, "--db-path", str(Path(folder, "uma.db"))]
    with Path(folder, "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", program, *arguments], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _wait_ready(f"http://{address}")
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_ready(url: str) -> None:
    deadline_s = time.monotonic() + _READY_S
    while True:
        try:
            umadb.Client(url).head()
        except Exception:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
        else:
            return


def _streams(load: Load) -> list[list[str]]:
    """The streams of each request, all of them new."""
    prefix, size = uuid4().hex, load.events_per_request
    return [
        [f"{prefix}-{index}-{number // EVENTS_PER_STREAM}" for number in range(size)]
        for index in range(load.request_count)
    ]


def _state() -> bytes:
    return event("").json.encode()


def _run_all(appends: Sequence[Callable[[], Any]], callers: int) -> float:
    """Run all in so many threads, and say how long that took."""
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(lambda number: number, range(callers)))
        began_s = time.perf_counter()
        list(pool.map(lambda append: append(), appends))
        return time.perf_counter() - began_s


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    sys.exit(run(main(parser.parse_args().rounds)))
