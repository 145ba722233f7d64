"""The events service as a process of its own on a durable database, and how it is measured."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc.aio
import uvloop

from girih.events.v1 import events_pb2 as pb
from tests.processes import Caller, authority_of, ending, events_process, own_postgres

RECORD_BYTES = 300
EVENT_TYPE = "T02 Check confirmation of receipt"
_JSON = '{"resource":"Resource26","group":"Group 1","transition":"complete","note":"%s"}'


@dataclass(frozen=True)
class Service:
    """A running service, and the database behind it."""

    channel: grpc.aio.Channel
    database_url: str
    caller: Caller


@asynccontextmanager
async def events_service() -> AsyncIterator[Service]:
    """The events service on a free port, with a database of its own that tells no lies."""
    with own_postgres() as (postgres, folder):
        process, address = events_process(postgres.url, folder)
        with ending(process):
            process.start()
            await asyncio.to_thread(process.wait_ready)
            async with grpc.aio.insecure_channel(address) as channel:
                yield Service(channel, postgres.url, Caller(authority_of(folder)))


def event(stream: str) -> pb.Event:
    """An event whose record takes `RECORD_BYTES`, more or less."""
    made = pb.Event(id=str(uuid4()), stream=stream, type=EVENT_TYPE)
    made.json = _JSON % ("x" * 60)
    return made


async def seconds(steps: Iterable[Callable[[], Awaitable[object]]], *, callers: int) -> float:
    """How long it takes so many callers to do all steps, each taking the next when it is free."""
    left = iter(steps)

    async def caller() -> None:
        for step in left:
            await step()

    began_s = time.perf_counter()
    await asyncio.gather(*[caller() for _ in range(callers)])
    return time.perf_counter() - began_s


def report(name: str, ours: Sequence[float], limit: Sequence[float], at_least: float) -> bool:
    """Print a figure beside its limit, each the median of its rounds; says whether it holds."""
    ratio = statistics.median([one / other for one, other in zip(ours, limit, strict=True)])
    holds = ratio >= at_least
    print(
        f"{name}: {statistics.median(ours):,.0f}/s of {statistics.median(limit):,.0f}/s,"
        f" ratio {ratio:.2f} (at least {at_least}): {'holds' if holds else 'MISSED'}",
        flush=True,
    )
    return holds


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a bench on the loop that the services use, and give its exit code."""
    return uvloop.run(main)
