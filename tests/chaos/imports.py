"""Kills the events service in the middle of an import, again and again, and compares the logs.

Every round imports the same file into a log of its own. While `girih import` runs, the service is
killed -9 and started again; then the file is imported once more. The log must be, event
by event, the one that an undisturbed import leaves.
"""

import asyncio
import hashlib
import json
import random
import sys
from pathlib import Path

import asyncpg
import grpc

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import events_pb2_grpc
from tests.processes import Process, ending, events_process, own_postgres

TENANT_KEY = "x-tenant-id"
Log = list[tuple[int, str, int, str, str]]
"""Position, stream, revision, event id and payload of every event."""


class Disagreement(AssertionError):
    """A log is not what an undisturbed import leaves."""


async def kill_during_imports(file: Path, rounds: int, seed: int) -> dict[str, float | str]:
    """Run `rounds` rounds. Answers what happened; raises `Disagreement`."""
    dice = random.Random(seed)
    with own_postgres() as (postgres, folder):
        service, address = events_process(postgres.url, folder)
        with ending(service):
            service.start()
            await asyncio.to_thread(service.wait_ready)
            calm = await _import(file, address, "calm")
            expected = await read_log(address, "calm")
            again = await _import(file, address, "calm")
            _demand(again["appended"] == 0, f"a second import appended {again['appended']}")
            _demand(await read_log(address, "calm") == expected, "a second import changed the log")
            stopped_at = [
                await _round(
                    file, service, address, postgres.url, f"round-{number}", expected, dice
                )
                for number in range(rounds)
            ]
    return {
        "events": len(expected),
        "streams": len({event[1] for event in expected}),
        "events/s undisturbed": calm["events_per_s"],
        "rounds": rounds,
        "killed in the middle": sum(0 < at < len(expected) for at in stopped_at),
        "log": hashlib.sha256(repr(expected).encode()).hexdigest()[:16],
    }


async def _round(
    file: Path,
    service: Process,
    address: str,
    database_url: str,
    tenant: str,
    expected: Log,
    dice: random.Random,
) -> int:
    """Answers how many events were stored when the service was killed."""
    importing = asyncio.create_task(_import(file, address, tenant))
    await _until_head_reaches(address, tenant, dice.randrange(1, len(expected) // 2))
    await asyncio.to_thread(service.kill)
    stopped_at = await _stored(database_url, tenant)
    service.start()
    await asyncio.to_thread(service.wait_ready)
    await importing
    await _import(file, address, tenant)
    _demand(await read_log(address, tenant) == expected, f"{tenant} has another log")
    return stopped_at


async def _import(file: Path, address: str, tenant: str) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "import", str(file), "--json", "--batch", "100"),
        *("--events-address", address, "--tenant", tenant),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    _demand(process.returncode == 0, f"the import ended with {process.returncode}")
    summary: dict[str, float] = json.loads(output)
    return summary


async def _until_head_reaches(address: str, tenant: str, position: int) -> None:
    # The log cannot be waited for otherwise: what fills it is another process.
    while await _head(address, tenant) < position:  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def _head(address: str, tenant: str) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = events_pb2_grpc.EventStoreServiceStub(channel)
        metadata = [(TENANT_KEY, tenant)]
        reply = await stub.GetLog(pb.GetLogRequest(), metadata=metadata, timeout=5)
        return int(reply.head_position)


async def _stored(database_url: str, tenant: str) -> int:
    """The head of a log while no service runs that could be asked for it."""
    connection = await asyncpg.connect(database_url)
    try:
        head = "SELECT head FROM events.logs WHERE tenant = $1"
        return int(await connection.fetchval(head, tenant) or 0)
    finally:
        await connection.close()


async def read_log(address: str, tenant: str) -> Log:
    """The whole log, checked to be dense."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = events_pb2_grpc.EventStoreServiceStub(channel)
        call = stub.Read(pb.ReadRequest(), metadata=[(TENANT_KEY, tenant)], timeout=60)
        log = [
            (e.position, e.event.stream, e.revision, e.event.id, e.event.json)
            async for page in call
            for e in page.events
        ]
    _demand([e[0] for e in log] == list(range(1, len(log) + 1)), "positions are not dense")
    return log


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Disagreement(otherwise)
