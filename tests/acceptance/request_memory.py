"""However much callers send, or do not read, an events process holds no more than it is told to.

    python -m tests.acceptance.request_memory [--callers 150] [--mib 256] [--seconds 20]

Strangers send large messages without an end. Callers of four tenants send large messages to an
rpc that takes small ones and refuses them; then large appends, first over unary calls, then over
streams whose answers they never read; then they read, and take nothing of it. The resident memory
of the process must stay within what `EVENTS_REQUESTS_MIB` and `EVENTS_RESPONSES_MIB` allow, and
be given back when they have left; a fifth tenant must be served throughout.
"""

import argparse
import asyncio
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from girih.client.channel import open_channel
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from tests.acceptance.resident import forget_peak, peak_mib, resident_mib, settled_mib
from tests.authority import Authority
from tests.processes import authority_of, ending, events_process, own_postgres

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

APPEND_BYTES = 4_000_000
STREAMED_COUNT = 5
"""Of one caller: 20 MB together."""

MISPLACED_BYTES = 8_000_000
MISPLACED_COUNT = 4

TENANTS = 4
RESPONSES_MIB = 128
BESIDE_MIB = 128
"""What is neither: batches being written, messages being parsed, copies being sent."""
KEPT_MIB = 96
"""What the process may keep when they have left."""
RELEASE_S = 60.0
CALL_TIMEOUT_S = 30.0

Metadata = Sequence[tuple[str, str]]
Send = Callable[["EventStoreServiceAsyncStub", Metadata], Awaitable[None]]


async def misplaced(stub: "EventStoreServiceAsyncStub", metadata: Metadata) -> None:
    """Messages to an rpc that takes a hundredth of them."""
    request = pb.GetStreamRequest(stream="x" * MISPLACED_BYTES)
    for _ in range(MISPLACED_COUNT):
        with suppress(grpc.aio.AioRpcError):
            await stub.GetStream(request, metadata=metadata)


async def unary(stub: "EventStoreServiceAsyncStub", metadata: Metadata) -> None:
    """One append, tried until it is taken."""
    while True:
        try:
            await stub.Append(pb.AppendRequest(events=[_event()]), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            await asyncio.sleep(0.5)
        else:
            return


async def silent(stub: "EventStoreServiceAsyncStub", metadata: Metadata) -> None:
    """A stream of appends whose answers are never read."""
    call = stub.AppendStream(metadata=metadata)
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for _ in range(STREAMED_COUNT):
            await call.write(pb.AppendStreamRequest(events=[_event()]))
        await asyncio.Event().wait()


async def greedy(stub: "EventStoreServiceAsyncStub", metadata: Metadata) -> None:
    """A read of the whole log, of which nothing is taken."""
    call = stub.Read(pb.ReadRequest(), metadata=metadata)
    await call.initial_metadata()
    await asyncio.Event().wait()


async def strange(stub: "EventStoreServiceAsyncStub", _metadata: Metadata) -> None:
    """Streams of somebody who proves nothing and writes on, whatever the answer."""
    while True:
        call = stub.AppendStream(metadata=[("authorization", "Bearer nobody's")])
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await call.write(pb.AppendStreamRequest(events=[_event()]))


WAYS: dict[str, Send] = {
    "streams of strangers": strange,
    "misplaced messages": misplaced,
    "unary appends": unary,
    "streams never read": silent,
    "reads never read": greedy,
}


@dataclass(frozen=True)
class Measured:
    """What one way of sending did to the process, in MiB and seconds."""

    before_mib: float
    peak_mib: float
    after_mib: float
    other_count: int
    other_slowest_s: float

    def holds(self, requests_mib: int) -> bool:
        bytes_mib = requests_mib + RESPONSES_MIB
        is_bounded = self.peak_mib - self.before_mib <= bytes_mib + BESIDE_MIB
        is_released = self.after_mib - self.before_mib <= KEPT_MIB
        return is_bounded and is_released and self.other_count > 0


def main(callers: int, mib: int, seconds: float, ways: Sequence[str] = tuple(WAYS)) -> int:
    with own_postgres() as (postgres, folder):
        process, address = events_process(postgres.url, folder, EVENTS_REQUESTS_MIB=str(mib))
        with ending(process):
            process.start()
            process.wait_ready()
            authority = authority_of(folder)
            results = [
                _measured(way, address, process.pid, authority, callers, seconds) for way in ways
            ]
    holds = all(result.holds(mib) for result in results)
    allowed = f"{mib} + {RESPONSES_MIB} + {BESIDE_MIB} MiB more at most, {KEPT_MIB} MiB afterwards"
    print(f"holds: {allowed}" if holds else f"falls short: {allowed} are allowed")
    return 0 if holds else 1


def _measured(
    way: str, address: str, pid: int, authority: Authority, callers: int, seconds: float
) -> Measured:
    """Have callers send for so long, or until all is sent, and watch the process."""
    metadata = [authority.metadata(f"tenant-{number}") for number in range(TENANTS)]
    before_mib = resident_mib(pid)
    forget_peak(pid)
    sending = multiprocessing.get_context("spawn").Process(
        target=_send, args=(way, address, metadata, callers)
    )
    sending.start()
    try:
        count, slowest_s = _call_until(
            address, authority.metadata("other"), lambda: not sending.is_alive(), seconds
        )
    finally:
        sending.kill()
        sending.join()
    highest_mib = peak_mib(pid)
    after_mib = settled_mib(pid, before_mib + KEPT_MIB, RELEASE_S)
    print(
        f"{way:20} {before_mib:5.0f} MiB before, {highest_mib:5.0f} at most,"
        f" {after_mib:5.0f} after;"
        f" another tenant: {count} appends, the slowest took {slowest_s:.1f} s",
        flush=True,
    )
    return Measured(before_mib, highest_mib, after_mib, count, slowest_s)


def _call_until(
    address: str, metadata: Metadata, is_over: Callable[[], bool], seconds: float
) -> tuple[int, float]:
    """Append small events one after the other; how many, and how long the slowest took."""
    count, slowest_s, ends_s = 0, 0.0, time.monotonic() + seconds
    request = pb.AppendRequest(events=[pb.Event(stream="s", type="t")])
    with grpc.insecure_channel(address) as channel:
        stub = EventStoreServiceStub(channel)
        while time.monotonic() < ends_s and not is_over():
            started_s = time.monotonic()
            stub.Append(request, metadata=tuple(metadata), timeout=CALL_TIMEOUT_S)
            slowest_s = max(slowest_s, time.monotonic() - started_s)
            count += 1
            time.sleep(0.02)
    return count, slowest_s


# ---- the callers, in their own process


def _send(way: str, address: str, metadata: Sequence[Metadata], callers: int) -> None:
    asyncio.run(_send_all(WAYS[way], address, metadata, callers))


async def _send_all(send: Send, address: str, metadata: Sequence[Metadata], callers: int) -> None:
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(open_channel(address)) for _ in range(callers)]
        await asyncio.gather(
            *(
                send(EventStoreServiceStub(channel), metadata[number % len(metadata)])
                for number, channel in enumerate(channels)
            )
        )


def _event() -> pb.Event:
    return pb.Event(stream="large", type="t", binary=b"x" * APPEND_BYTES)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=150)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    sys.exit(main(arguments.callers, arguments.mib, arguments.seconds))
