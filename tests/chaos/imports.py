"""Kills the events service in the middle of an import, again and again, and compares the logs.

Every round imports the same file into a log of its own. While `girih import` runs, the service is
killed -9 and started again; then the file is imported once more. The log must be, event
by event, the one that an undisturbed import leaves.
"""

import asyncio
import hashlib
import json
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import grpc

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import events_pb2_grpc
from tests.processes import (
    Caller,
    Process,
    authority_of,
    ending,
    events_process,
    own_postgres,
    signed_in,
)

_HEAD = """
    SELECT max(position)
    FROM events.records JOIN events.logs USING (log)
    WHERE tenant = $1
"""

TRIES_MAX = 4
"""For each round: on a busy machine an import may be over when the service is killed."""

Content = list[tuple[int, str, int, str, str]]
"""Position, stream, revision, event id and payload of every event."""


class Disagreement(AssertionError):
    """A log is not what an undisturbed import leaves."""


@dataclass(frozen=True)
class Log:
    """The log of one tenant, and how to get at it."""

    address: str
    caller: Caller
    database_url: str
    folder: Path

    def of(self, tenant: str) -> "Log":
        return replace(self, caller=Caller(self.caller.authority, tenant))

    @property
    def tenant(self) -> str:
        return self.caller.tenant


async def kill_during_imports(file: Path, rounds: int, seed: int) -> dict[str, float | str]:
    """Run rounds until so many were killed in the middle. Answers what happened; raises
    `Disagreement`."""
    dice = random.Random(seed)
    with own_postgres() as (postgres, folder):
        service, address = events_process(postgres.url, folder)
        log = Log(address, Caller(authority_of(folder), "calm"), postgres.url, folder)
        with ending(service):
            service.start()
            await asyncio.to_thread(service.wait_ready)
            calm = await _import(file, log)
            expected = await read_log(log)
            again = await _import(file, log)
            _demand(again["appended"] == 0, f"a second import appended {again['appended']}")
            _demand(await read_log(log) == expected, "a second import changed the log")
            stopped_at: list[int] = []
            while _in_the_middle(stopped_at, expected) < rounds:
                _demand(len(stopped_at) < TRIES_MAX * rounds, "the import is over too soon")
                tenant = log.of(f"round-{len(stopped_at)}")
                stopped_at.append(await _round(file, service, tenant, expected, dice))
    return {
        "events": len(expected),
        "streams": len({event[1] for event in expected}),
        "events/s undisturbed": calm["eventsPerS"],
        "rounds": len(stopped_at),
        "killed in the middle": _in_the_middle(stopped_at, expected),
        "log": hashlib.sha256(repr(expected).encode()).hexdigest()[:16],
    }


def _in_the_middle(stopped_at: Sequence[int], expected: Content) -> int:
    return sum(0 < at < len(expected) for at in stopped_at)


async def _round(
    file: Path, service: Process, log: Log, expected: Content, dice: random.Random
) -> int:
    """Answers how many events were stored when the service was killed."""
    importing = asyncio.create_task(_import(file, log))
    await _until_head_reaches(log, dice.randrange(1, len(expected) // 2))
    await asyncio.to_thread(service.kill)
    stopped_at = await _stored(log)
    service.start()
    await asyncio.to_thread(service.wait_ready)
    await importing
    await _import(file, log)
    _demand(await read_log(log) == expected, f"{log.tenant} has another log")
    return stopped_at


async def _import(file: Path, log: Log) -> dict[str, float]:
    session = signed_in(log.caller.authority, log.tenant, log.folder / f"{log.tenant}.json")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "import", str(file), "--json", "--batch", "100"),
        *("--events-address", log.address),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **session},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    _demand(process.returncode == 0, f"the import ended with {process.returncode}")
    summary: dict[str, float] = json.loads(output)
    return summary


async def _until_head_reaches(log: Log, position: int) -> None:
    async with grpc.aio.insecure_channel(log.address) as channel:
        stub = events_pb2_grpc.EventStoreServiceStub(channel)
        while True:
            reply = await stub.GetLog(pb.GetLogRequest(), metadata=log.caller.metadata, timeout=30)
            if reply.head_position >= position:
                return
            # It cannot be waited for otherwise: what fills it is another process.
            await asyncio.sleep(0.01)


async def _stored(log: Log) -> int:
    """The head of a log while no service runs that could be asked for it."""
    connection = await asyncpg.connect(log.database_url)
    try:
        return int(await connection.fetchval(_HEAD, log.tenant) or 0)
    finally:
        await connection.close()


async def read_log(log: Log) -> Content:
    """The whole log, checked to be dense."""
    async with grpc.aio.insecure_channel(log.address) as channel:
        stub = events_pb2_grpc.EventStoreServiceStub(channel)
        call = stub.Read(pb.ReadRequest(), metadata=log.caller.metadata, timeout=60)
        result = [
            (e.position, e.event.stream, e.revision, e.event.id, e.event.json)
            async for page in call
            for e in page.events
        ]
    _demand([e[0] for e in result] == list(range(1, len(result) + 1)), "positions are not dense")
    return result


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Disagreement(otherwise)
