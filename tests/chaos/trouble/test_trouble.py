"""What the proof of trouble sees, and what its proxy does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from tests.chaos.trouble.asking import DEADLINE_S, LATE_S, Answer, Answers, Asker, Call
from tests.chaos.trouble.girih import behind_proxy
from tests.chaos.trouble.proxy import Proxy, Pump, to_port
from tests.processes import free_port
from tests.security.conftest import Tenant
from tests.security.matrix import Owned

APPEND = Call("POST", "/v1/events:append")
_CUT = (ConnectionError, asyncio.IncompleteReadError)
TENANT = Tenant("t", "u", "access", "refresh", Owned({}))


@pytest.mark.parametrize(
    ("status", "reason", "took_s", "is_broken"),
    [
        (200, "", 1.0, False),
        (503, "DATABASE_UNAVAILABLE", 1.0, False),
        (429, "DATABASE_BUSY", 1.0, False),
        (504, "DEADLINE_EXCEEDED", DEADLINE_S, False),
        (503, "DATABASE_UNAVAILABLE", DEADLINE_S + 2 * LATE_S, True),
        (0, "", 1.0, True),
        (500, "INTERNAL", 1.0, True),
        (503, "NO_SUCH_REASON", 1.0, True),
        (500, "DATABASE_UNAVAILABLE", 1.0, True),
        (401, "TOKEN_INVALID", 1.0, True),
        (404, "STREAM_NOT_FOUND", 1.0, True),
    ],
)
def test_the_proof_sees_what_nobody_may_be_told(
    status: int, reason: str, took_s: float, is_broken: bool
) -> None:
    answers = Answers([Answer(APPEND, status, reason, took_s)])

    Asker("http://127.0.0.1:1", TENANT).judge(answers)

    assert bool(answers.broken) == is_broken


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """In front of what sends back what it is sent."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(1024):
                writer.write(chunk)
        writer.transport.abort()

    port = free_port()
    async with (
        await asyncio.start_server(echo, "127.0.0.1", port),
        Proxy(to_port(port), free_port()) as proxy,
    ):
        yield proxy


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Pump]:
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_the_proxy_passes_on_what_it_is_sent(proxy: Proxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"asked")

        assert await reader.readexactly(5) == b"asked"


async def test_the_proxy_delays_answers(proxy: Proxy) -> None:
    proxy.delay_s = 0.2
    async with connected(proxy) as (reader, writer):
        began_s = asyncio.get_running_loop().time()

        writer.write(b"asked")
        await reader.readexactly(5)

        assert asyncio.get_running_loop().time() - began_s >= proxy.delay_s


async def test_the_proxy_cuts_off_who_is_connected_and_who_connects(proxy: Proxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"asked")
        await reader.readexactly(5)

        proxy.is_cut = True
        proxy.cut()

        with pytest.raises(_CUT):
            await reader.readexactly(1)
    async with connected(proxy) as (reader, _):
        with pytest.raises(_CUT):
            await reader.readexactly(1)


async def test_the_proxy_answers_in_place_of_the_database(database_url: str) -> None:
    async with behind_proxy(database_url) as (proxy, url):
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT 1") == 1

        proxy.sql_state = "XX000"

        with pytest.raises(asyncpg.InternalServerError):
            await connection.fetchval("SELECT 1")
        connection.terminate()
