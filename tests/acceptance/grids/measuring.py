"""What proofs about lattices measure of the service: its memory, its health, its numbers."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from girih.ops.v1 import ops_pb2
from girih.ops.v1.ops_pb2_grpc import MetricsServiceStub
from tests.processes import Caller

_ASKED_EVERY_S = 0.02


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever held."""
    return _status(pid, "VmHWM:")


def held_bytes(pid: int) -> int:
    """The memory that a process holds now."""
    return _status(pid, "VmRSS:")


def _status(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


class Numbers:
    """The metrics of the lattice service, each the sum of its samples."""

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._stub = MetricsServiceStub(channel)
        self._caller = caller

    async def of(self, name: str, sample: str = "") -> float:
        request = ops_pb2.GetMetricsRequest(name_prefix=name)
        answer = await self._stub.GetMetrics(request, metadata=self._caller.metadata)
        return sum(
            one.value
            for family in answer.families
            for one in family.samples
            if not sample or one.name == sample
        )


@asynccontextmanager
async def watched(call: Callable[[], Awaitable[object]]) -> AsyncIterator[list[float]]:
    """Call again and again inside the block; how many seconds each answer took."""
    took_s: list[float] = []

    async def ask() -> None:
        while True:
            began_s = time.perf_counter()
            await call()
            took_s.append(time.perf_counter() - began_s)
            await asyncio.sleep(_ASKED_EVERY_S)

    asking = asyncio.create_task(ask(), name="ask again and again")
    try:
        yield took_s
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking


def watched_health(channel: grpc.aio.Channel) -> AbstractAsyncContextManager[list[float]]:
    """The same of health."""
    stub = health_pb2_grpc.HealthStub(channel)
    return watched(lambda: stub.Check(health_pb2.HealthCheckRequest(), timeout=30))
