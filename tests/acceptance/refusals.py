"""A thousand refused requests of some MiB each leave nothing behind.

Sends requests that must be refused, of every kind, one after the other, and watches the resident
memory of the process that refuses them: appends to events, and uploads, writes and transforms to
lattice.

    python -m tests.acceptance.refusals [--count 1000] [--mib 4] [--service events|lattice]
"""

import argparse
import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
from google.api.httpbody_pb2 import HttpBody

from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.lattice.v1 import fields_pb2, lattice_pb2, transforms_pb2, uploads_pb2
from girih.lattice.v1.fields_pb2_grpc import FieldServiceStub
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from girih.lattice.v1.transforms_pb2_grpc import TransformServiceStub
from girih.lattice.v1.uploads_pb2_grpc import LatticeUploadServiceStub
from tests.lattice.fields.caller import npy, pieces
from tests.processes import (
    Caller,
    authority_of,
    ending,
    events_process,
    lattice_process,
    own_postgres,
)

Call = Callable[[], Awaitable[object]]

SERVICES = ("events", "lattice")
GROWTH_MIB_MAX = 120
"""The requests of a few calls, and what the allocator keeps of them."""
_ROW = 1_024
_DIGEST = f"sha-256=:{'A' * 43}=:"
"""Of nothing that is sent."""


async def main(count: int, mib: int, services: Sequence[str] = SERVICES) -> int:
    """Prove it with so many refusals of each kind, of so many MiB each."""
    with own_postgres() as (postgres, folder):
        events, events_address = events_process(postgres.url, folder)
        lattice, lattice_address = lattice_process(events_address, folder)
        with ending(events, lattice):
            for process in (events, lattice):
                process.start()
            for process in (events, lattice):
                await asyncio.to_thread(process.wait_ready)
            caller = Caller(authority_of(folder))
            holds = True
            if "events" in services:
                async with grpc.aio.insecure_channel(events_address) as channel:
                    calls = await _appends(channel, caller, mib)
                    holds = await _hold(calls, events.pid, count) and holds
            if "lattice" in services:
                async with grpc.aio.insecure_channel(lattice_address) as channel:
                    calls = await _arrays(channel, caller, mib)
                    holds = await _hold(calls, lattice.pid, count) and holds
    print("holds" if holds else f"falls short: at most {GROWTH_MIB_MAX} MiB more are allowed")
    return 0 if holds else 1


async def _hold(calls: Mapping[str, Call], pid: int, count: int) -> bool:
    """Whether the process holds no more than it may behind so many refusals of each call."""
    for call in calls.values():
        # What is loaded and compiled once belongs to no request.
        await _refuse(call)
    holds = True
    for name, call in calls.items():
        before = peak = _resident_mib(pid)
        for number in range(count):
            await _refuse(call)
            if number % 20 == 0 or number + 1 == count:
                peak = max(peak, _resident_mib(pid))
        holds = holds and peak - before <= GROWTH_MIB_MAX
        print(f"{name:34} {count} refusals: {before:5.0f} MiB before, {peak:5.0f} at most")
    return holds


async def _refuse(call: Call) -> None:
    try:
        await call()
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE):
            raise
        return
    raise AssertionError("it is not refused")


async def _appends(channel: grpc.aio.Channel, caller: Caller, mib: int) -> dict[str, Call]:
    stub = EventStoreServiceStub(channel)
    absent = pb.Precondition(stream="stream-1", state=pb.Precondition.STATE_ABSENT)
    reused = "018f0000-0000-7000-8000-000000000000"
    size_bytes = (mib - 1) * 2**20
    first = _event(0, id=reused)
    await stub.Append(pb.AppendRequest(events=[first]), metadata=caller.metadata)

    def append(**fields: Any) -> Call:
        return lambda: stub.Append(pb.AppendRequest(**fields), metadata=caller.metadata)

    return {
        "a precondition that fails": append(events=[_event(size_bytes)], preconditions=[absent]),
        "a bad name": append(events=[_event(size_bytes, stream="no name")]),
        "an id used before": append(events=[_event(size_bytes, id=reused)]),
        "bad JSON": append(
            events=[pb.Event(stream="stream-1", type="t", json="[" + " " * size_bytes)]
        ),
    }


async def _arrays(channel: grpc.aio.Channel, caller: Caller, mib: int) -> dict[str, Call]:
    """Of lattices with a number of eight bytes for each site, and fields of them."""
    shape = (mib * 2**20 // 8 // _ROW, _ROW)
    lattices, fields = LatticeServiceStub(channel), FieldServiceStub(channel)
    uploads, transforms = LatticeUploadServiceStub(channel), TransformServiceStub(channel)
    asked = lattice_pb2.CreateLatticeRequest(shape=shape)
    lattice_id = (await lattices.CreateLattice(asked, metadata=caller.metadata)).lattice.lattice_id
    doubles, bits = np.zeros(shape), bytes(mib * 2**20)
    of_bits: dict[str, Any] = {"shape": [8 * mib, 2**20], "bit_order": lattice_pb2.BIT_ORDER_LITTLE}

    def upload(data: bytes, content_type: str = "", **head: Any) -> Call:
        async def requests() -> AsyncIterator[uploads_pb2.UploadLatticeRequest]:
            first = head
            for piece in pieces(data):
                body = HttpBody(content_type=content_type, data=piece)
                yield uploads_pb2.UploadLatticeRequest(body=body, **first)
                first = {}

        return lambda: uploads.UploadLattice(requests(), metadata=caller.metadata)

    def write(data: bytes, content_type: str = "", name: str = "new", **more: Any) -> Call:
        async def requests() -> AsyncIterator[fields_pb2.WriteFieldRequest]:
            first = {"lattice_id": lattice_id, "name": name, **more}
            for piece in pieces(data):
                body = HttpBody(content_type=content_type, data=piece)
                yield fields_pb2.WriteFieldRequest(body=body, **first)
                first = {}

        return lambda: fields.WriteField(requests(), metadata=caller.metadata)

    def transform(*steps: Any) -> Call:
        request = transforms_pb2.TransformFieldRequest(
            lattice_id=lattice_id, name="endless", transforms=steps
        )
        return lambda: transforms.TransformField(request, metadata=caller.metadata)

    numbers: dict[str, Any] = {"number_type": lattice_pb2.NUMBER_TYPE_FLOAT64}
    await write(np.full(shape, np.inf).tobytes(), name="endless", **numbers)()
    file = "application/x-npy"
    return {
        "an upload of another type": upload(npy(doubles), file),
        "an upload with another digest": upload(bits, content_digest=_DIGEST, **of_bits),
        "an upload of too many bytes": upload(bits + b"x", **of_bits),
        "an upload of too few bytes": upload(bits[:-1], **of_bits),
        "a write of another type": write(npy(doubles.astype(np.complex128)), file),
        "a write with another digest": write(doubles.tobytes(), content_digest=_DIGEST, **numbers),
        "a write of too many bytes": write(doubles.tobytes() + b"x", **numbers),
        "a transform of what is not finite": transform({"convolve": _MEAN}),
        "a transform that does not fit": transform({"xor_key": {"seed": 1}}, {"transpose": {}}),
    }


_MEAN = {"lengths": [1, 3], "weights": [0.25, 0.5, 0.25]}


def _resident_mib(pid: int) -> float:
    line = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert line is not None
    return int(line[1]) / 1024


def _event(size_bytes: int, **fields: Any) -> pb.Event:
    return pb.Event(**{"stream": "stream-1", "type": "t", "binary": b"x" * size_bytes} | fields)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--mib", type=int, default=4)
    parser.add_argument("--service", choices=SERVICES)
    arguments = parser.parse_args()
    chosen = [arguments.service] if arguments.service else SERVICES
    sys.exit(asyncio.run(main(arguments.count, arguments.mib, chosen)))
