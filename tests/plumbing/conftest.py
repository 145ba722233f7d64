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
from services.plumbing.grpc.server import Server, running
from services.plumbing.settings import ServerSettings
from services.policy import POLICY
from tests.authority import Authority
from tests.plumbing.knots import DOMAIN, SERVICE, KnotClient, Knots


@dataclass(frozen=True)
class Log:
    """What was written to the log of this test, as JSON lines."""

    path: Path

    def text(self) -> str:
        logging.flush()
        return self.path.read_text()

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        result = [json.loads(line) for line in self.text().splitlines()]
        return [line for line in result if event is None or line["event"] == event]


MakeSettings = Callable[..., ServerSettings]


@pytest.fixture
def make_settings(authority: Authority) -> MakeSettings:
    """Makes settings of a server that believes the authority of the tests."""

    def make(**fields: Any) -> ServerSettings:
        own: dict[str, Any] = {
            "environment": "development",
            "shutdown_grace_s": 0,
            "transport": "mesh",
            "trusted_keys": authority.trusted_keys,
        }
        return ServerSettings(**own | fields)

    return make


@pytest.fixture
def settings(make_settings: MakeSettings) -> ServerSettings:
    return make_settings(log_format="json", log_level="debug")


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
    """The knots, served as `settings` say, and a client with a token that will do."""
    server = Server(DOMAIN, settings, policy=POLICY)
    server.add_service(SERVICE, knots, **options)
    token = Authority.load(settings.trusted_keys.parent).token(aud=[DOMAIN])
    async with (
        running(server, "127.0.0.1:0") as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Served(server, channel, KnotClient(channel, token), knots)


async def until(happened: Callable[[], bool]) -> None:
    """Wait for what happens soon, and fail when it does not."""
    async with asyncio.timeout(60):
        while not happened():  # noqa: ASYNC110 - nothing tells when it does
            await asyncio.sleep(0.005)


@pytest.fixture
async def served(settings: ServerSettings, log: Log) -> AsyncIterator[Served]:
    async with serving(settings, Knots()) as served:
        yield served
