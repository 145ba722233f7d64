"""A thousand refused requests of some MiB each leave nothing behind.

Sends appends that must be refused, of every kind, one after the other, and watches the resident
memory of the events process.

    python -m tests.acceptance.refusals [--count 1000] [--mib 4]
"""

import argparse
import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from tests.processes import Caller, authority_of, ending, events_process, own_postgres

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

Metadata = tuple[tuple[str, str]]

GROWTH_MIB_MAX = 120
"""The requests of a few calls, and what the allocator keeps of them."""


def _resident_mib(pid: int) -> float:
    line = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert line is not None
    return int(line[1]) / 1024


def _event(mib: int, **fields: object) -> pb.Event:
    values: dict[str, object] = {"stream": "stream-1", "type": "t", "binary": b"x" * (mib * 2**20)}
    return pb.Event(**(values | fields))  # type: ignore[arg-type]


def _kinds(mib: int) -> dict[str, Callable[[], pb.AppendRequest]]:
    absent = pb.Precondition(stream="stream-1", state=pb.Precondition.STATE_ABSENT)
    reused = "018f0000-0000-7000-8000-000000000000"
    return {
        "a precondition that fails": lambda: pb.AppendRequest(
            events=[_event(mib)], preconditions=[absent]
        ),
        "a bad name": lambda: pb.AppendRequest(events=[_event(mib, stream="no name")]),
        "an id used before": lambda: pb.AppendRequest(events=[_event(mib, id=reused)]),
        "bad JSON": lambda: pb.AppendRequest(
            events=[pb.Event(stream="stream-1", type="t", json="[" + " " * (mib * 2**20))]
        ),
    }


async def main(count: int, mib: int) -> int:
    with own_postgres() as (postgres, folder):
        process, address = events_process(postgres.url, folder)
        with ending(process):
            process.start()
            process.wait_ready()
            async with grpc.aio.insecure_channel(address) as channel:
                metadata = Caller(authority_of(folder)).metadata
                stub = EventStoreServiceStub(channel)
                return await _measure(stub, metadata, process.pid, count, mib)


async def _refused(
    stub: "EventStoreServiceAsyncStub", request: pb.AppendRequest, metadata: Metadata
) -> grpc.StatusCode | None:
    try:
        await stub.Append(request, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


async def _measure(
    stub: "EventStoreServiceAsyncStub", metadata: Metadata, pid: int, count: int, mib: int
) -> int:
    first = _event(0, id="018f0000-0000-7000-8000-000000000000")
    await stub.Append(pb.AppendRequest(events=[first]), metadata=metadata)
    holds = True
    for name, request_of in _kinds(mib - 1).items():
        before = peak = _resident_mib(pid)
        for number in range(count):
            code = await _refused(stub, request_of(), metadata)
            if code in (None, grpc.StatusCode.INTERNAL):
                raise AssertionError(f"{name}: {code} is no refusal")
            if number % 20 == 0:
                peak = max(peak, _resident_mib(pid))
        holds = holds and peak - before <= GROWTH_MIB_MAX
        print(f"{name:28} {count} refusals: {before:5.0f} MiB before, {peak:5.0f} at most")
    print("holds" if holds else f"falls short: at most {GROWTH_MIB_MAX} MiB more are allowed")
    return 0 if holds else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--mib", type=int, default=4)
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.count, arguments.mib)))
