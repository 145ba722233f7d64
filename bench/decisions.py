"""Appends on conditions, beside the same appends without, and beside another store's.

Single events with a tag at 64 callers. Each decides on what it has read last: that no event with
its tag lies behind the position that it was told before. What everybody decides on is recent, so
the service looks it up in memory. Whoever forbids an event anywhere in the log, as for a name that
only one may have, has it looked for in the database: that is printed beside it.

The other store is the recorder of `eventsourcing` for dynamic consistency boundaries, a library
that calls the same PostgreSQL without a service between, from 16 threads with as many connections.
UmaDB's server keeps files of its own; its client blocks, so 16 threads call it too. Both evaluate
the same condition: no event with the tag behind the position told before.

    python -m bench.decisions [--rounds 9]
"""

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from bench.serving import Service, event, events_service, report, run, seconds
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub

CALLERS = 64
APPENDS = 4_000
TAGS = 500
"""More than there are callers, or they would be in each other's way."""
THREADS = 16

Condition = Callable[[str], pb.Precondition | None]
"""What an append with a tag demands."""


async def main(rounds: int) -> int:
    conditions: dict[str, Condition] = {"none": _none, "recent": _unless, "anywhere": _anywhere}
    async with events_service() as service:
        ours: dict[str, list[float]] = {name: [] for name in conditions}
        theirs: list[float] = []
        umas: list[float] = []
        with _eventsourcing(service.database_url) as other, _uma() as uma:
            for number in range(rounds + 1):
                for name, condition in conditions.items():
                    ours[name].append(await _appends_per_s(service, f"{number}-{name}", condition))
                if other is not None:
                    theirs.append(other(f"{number}"))
                if uma is not None:
                    umas.append(uma(f"{number}"))
    name = f"appends on conditions at {CALLERS} callers, of such without"
    holds = report(name, ours["recent"][1:], ours["none"][1:], at_least=0.8)
    name = "appends that forbid an event anywhere in the log, of such without conditions"
    report(name, ours["anywhere"][1:], ours["none"][1:], at_least=0.0)
    if theirs:
        name = f"appends on conditions, of those by eventsourcing in {THREADS} threads"
        report(name, ours["recent"][1:], theirs[1:], at_least=0.0)
    if umas:
        name = f"appends on conditions, of those by UmaDB in {THREADS} threads"
        report(name, ours["recent"][1:], umas[1:], at_least=0.0)
    return 0 if holds else 1


async def _appends_per_s(service: Service, name: str, condition: Condition) -> float:
    append = partial(
        EventStoreServiceStub(service.channel).Append, metadata=service.caller.metadata
    )
    seen = 0

    async def one(request: pb.AppendRequest) -> None:
        nonlocal seen
        if condition is _unless:
            request.preconditions[0].no_match.after_position = seen
        response = await append(request)
        seen = max(seen, response.placements[0].position)

    first = await append(pb.AppendRequest(events=[event(f"s-{name}")]))
    seen = first.placements[0].position
    requests = [_request(name, number, condition) for number in range(APPENDS)]
    steps: list[Callable[[], Awaitable[object]]] = [partial(one, request) for request in requests]
    return APPENDS / await seconds(steps, callers=CALLERS)


def _request(name: str, number: int, condition: Condition) -> pb.AppendRequest:
    # A tag that is forbidden anywhere is of use only once.
    tag = f"{name}:{number if condition is _anywhere else number % TAGS}"
    appended = event(f"s-{name}-{number // 5}")
    appended.tags.append(tag)
    demanded = condition(tag)
    return pb.AppendRequest(events=[appended], preconditions=[] if demanded is None else [demanded])


def _none(_tag: str) -> None:
    return None


def _unless(tag: str) -> pb.Precondition:
    """Behind the position that is told when it is sent."""
    return _anywhere(tag)


def _anywhere(tag: str) -> pb.Precondition:
    wanted = pb.Filter(queries=[pb.Query(tags=[tag])])
    return pb.Precondition(no_match=pb.NoMatch(filter=wanted))


@contextmanager
def _eventsourcing(database_url: str) -> Iterator[Callable[[str], float] | None]:
    """Measures so many appends per second with a name; None where it is not installed."""
    try:
        api = importlib.import_module("eventsourcing.dcb.api")
        recorders = importlib.import_module("eventsourcing.dcb.postgres_tt")
        postgres = importlib.import_module("eventsourcing.postgres")
    except ImportError:
        print("eventsourcing is not installed, so nothing of it is measured", flush=True)
        yield None
        return
    url = urlsplit(database_url)
    datastore = postgres.PostgresDatastore(
        dbname=url.path.removeprefix("/"),
        host=parse_qs(url.query)["host"][0],
        port=url.port or 5432,
        user=url.username,
        password=url.password or "",
        pool_size=THREADS,
    )
    recorder = recorders.PostgresDCBRecorderTT(datastore)
    recorder.create_table()
    try:
        yield partial(_their_appends_per_s, api, recorder)
    finally:
        datastore.close()


def _their_appends_per_s(api: Any, recorder: Any, name: str) -> float:  # noqa: ANN401 - as above
    payload = event("s").json.encode()

    def append(tag: str, seen: int) -> int:
        query = api.DCBQuery(items=[api.DCBQueryItem(tags=[tag])])
        condition = api.DCBAppendCondition(fail_if_events_match=query, after=seen)
        appended = api.DCBEvent(type="happened", data=payload, tags=[tag])
        position: int = recorder.append([appended], condition)
        return position

    return _threaded_per_s(append, name)


@contextmanager
def _uma() -> Iterator[Callable[[str], float] | None]:
    """Measures so many appends per second with a name; None where it is not installed."""
    try:
        umadb = importlib.import_module("umadb")
        peers = importlib.import_module("bench.peers")
    except ImportError:
        print("UmaDB is not installed, so nothing of it is measured", flush=True)
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="girih-") as folder, peers.uma_server(folder) as url:
        yield partial(_uma_appends_per_s, umadb, umadb.Client(url))


def _uma_appends_per_s(umadb: Any, client: Any, name: str) -> float:  # noqa: ANN401 - as above
    payload = event("s").json.encode()

    def append(tag: str, seen: int) -> int:
        query = umadb.Query(items=[umadb.QueryItem(tags=[tag])])
        condition = umadb.AppendCondition(query, after=seen or None)
        appended = umadb.Event(event_type="happened", data=payload, tags=[tag], uuid=uuid4())
        position: int = client.append([appended], condition)
        return position

    return _threaded_per_s(append, name)


def _threaded_per_s(append: Callable[[str, int], int], name: str) -> float:
    """`append` takes a tag and the position told before, and answers a new one."""
    seen = 0

    def one(number: int) -> None:
        nonlocal seen
        seen = max(seen, append(f"{name}:{number % TAGS}", seen))

    one(0)
    began_s = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(one, range(1, APPENDS)))
    return APPENDS / (time.perf_counter() - began_s)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    sys.exit(run(main(parser.parse_args().rounds)))
