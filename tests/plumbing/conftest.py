"""A server with the knots of the tests, and the log of what it did."""

import asyncio
import json
import logging as standard_logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import structlog

from services.plumbing import logging
from services.plumbing.server import Server, add_service, build_server, running
from services.plumbing.settings import ServerSettings
from tests.plumbing.knots import SERVICE, KnotClient, Knots


@dataclass(frozen=True)
class Log:
    """What was written to the log of this test, as JSON lines."""

    path: Path

    def text(self) -> str:
        logging.flush()
        return self.path.read_text()

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.text().splitlines()]
        return [line for line in found if event is None or line["event"] == event]


@pytest.fixture
def settings() -> ServerSettings:
    return ServerSettings(
        environment="development", log_format="json", log_level="debug", shutdown_grace_s=0
    )


@pytest.fixture
def log(settings: ServerSettings, tmp_path: Path) -> Iterator[Log]:
    """Everything this process logs during the test."""
    handlers = standard_logging.getLogger().handlers[:]
    standard_logging.getLogger().handlers[:] = []
    path = tmp_path / "log"
    with path.open("wb") as file:
        logging.configure(settings, file.fileno())
        yield Log(path)
        logging.close()
    structlog.reset_defaults()
    standard_logging.captureWarnings(capture=False)
    standard_logging.getLogger().handlers[:] = handlers


@dataclass(frozen=True)
class Served:
    """A running server and a client of it."""

    server: Server
    channel: grpc.aio.Channel
    client: KnotClient
    knots: Knots


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@asynccontextmanager
async def serving(settings: ServerSettings, knots: Knots, **options: Any) -> AsyncIterator[Served]:
    """The knots, served as `settings` say."""
    server = build_server("knots.girih", settings)
    add_service(server, SERVICE, knots, **options)
    async with (
        running(server, "127.0.0.1:0") as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Served(server, channel, KnotClient(channel), knots)


async def until(happened: Callable[[], bool]) -> None:
    """Wait for what happens soon, and fail when it does not."""
    for _ in range(1_000):
        if happened():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it did not happen within 5 s")


@pytest.fixture
async def served(settings: ServerSettings, log: Log) -> AsyncIterator[Served]:
    async with serving(settings, Knots()) as served:
        yield served
