"""Whether processes say that they are alive, asked all the time as a cluster asks."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from girih.client.channel import open_channel, tls_credentials
from services.plumbing.grpc.health import LIVENESS
from tests.processes import System

EVERY_S = 0.5
TIMEOUT_S = 5.0
"""As the chart has it."""
FAILURES_MAX = 2
"""One more in a row, and a cluster would start the process anew."""


@dataclass
class Lives:
    """Who said what. A process in `silent` cannot answer, which counts for nothing."""

    asked_count: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    silent: set[str] = field(default_factory=set)


@asynccontextmanager
async def watched_lives(system: System, ca_file: Path | None = None) -> AsyncIterator[Lives]:
    """Ask all processes while the block runs."""
    lives = Lives()
    tls = None if ca_file is None else tls_credentials(ca=_read(ca_file))
    services = {
        "events": system.events_address,
        "lattice": system.lattice_address,
        "projections": system.projections_address,
    }
    tasks = [
        asyncio.create_task(_watch_service(lives, name, open_channel(address, tls=tls)))
        for name, address in services.items()
    ]
    tasks.append(asyncio.create_task(_watch_gateway(lives, system.url)))
    try:
        yield lives
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if not isinstance(outcome, asyncio.CancelledError):
                lives.broken[f"a look at liveness ended: {outcome!r}"] += 1


def _read(file: Path) -> bytes:
    return file.read_bytes()


async def _watch_service(lives: Lives, name: str, opened: grpc.aio.Channel) -> None:
    request = health_pb2.HealthCheckRequest(service=LIVENESS)
    async with opened as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        async def ask() -> str:
            try:
                reply = await stub.Check(request, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                return error.code().name
            is_alive = reply.status == health_pb2.HealthCheckResponse.SERVING
            return "" if is_alive else "NOT_SERVING"

        await _watch(lives, name, ask)


async def _watch_gateway(lives: Lives, url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as http:

        async def ask() -> str:
            try:
                status = (await http.get("/health/live")).status_code
            except httpx.HTTPError as error:
                return type(error).__name__
            return "" if status == httpx.codes.OK else str(status)

        await _watch(lives, "gateway", ask)


async def _watch(lives: Lives, name: str, ask: Callable[[], Awaitable[str]]) -> None:
    failures: list[str] = []
    while True:
        problem = await ask()
        lives.asked_count += 1
        if not problem or name in lives.silent:
            failures.clear()
        else:
            failures.append(problem)
        if len(failures) > FAILURES_MAX:
            lives.broken[f"{name} was not alive: {', '.join(failures)}"] += 1
            failures.clear()
        await asyncio.sleep(EVERY_S)
