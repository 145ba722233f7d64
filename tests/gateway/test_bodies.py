"""The memory for bodies of requests is one budget."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from services.plumbing.settings import WrongSettings
from tests.gateway.edge.client import Client, connected
from tests.gateway.edge.corpus import Answer, read_answer
from tests.gateway.sample import Gateway, SampleService, gateway_before, until

_MIB = 2**20
_SMALL = {
    "GATEWAY_BODIES_MIB": "4",
    "GATEWAY_BODY_BYTES_MAX": str(2 * _MIB),
    "GATEWAY_LINE_BYTES_MAX": str(2 * _MIB),
}


def held(gateway: Gateway) -> int:
    return gateway.application.metrics.body_bytes()


@asynccontextmanager
async def bounded(service: SampleService) -> AsyncIterator[tuple[Gateway, httpx.URL]]:
    """A gateway that holds 4 MiB of bodies, 2 of them for one tenant."""
    async with gateway_before(service, _SMALL) as gateway, gateway.listening() as client:
        yield gateway, client.base_url


def post(path: str, media_type: str, length: int, token: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
        f"content-type: {media_type}\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


def echo(length: int, token: str) -> bytes:
    return post("/v1/echo", "application/json", length, token)


async def refused(client: Client) -> Answer:
    async with asyncio.timeout(15):
        answer = await read_answer(client.reader)
    assert answer is not None
    return answer


async def test_unfinished_bodies_hold_no_more_than_they_may(service: SampleService) -> None:
    token = service.authority.token()
    async with bounded(service) as (gateway, url), AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(url)) for _ in range(20)]
        highest = 0
        for client in clients:
            client.writer.write(echo(_MIB, token) + b" " * (_MIB - 1))
        reading = [asyncio.ensure_future(refused(client)) for client in clients]
        while sum(map(asyncio.Future.done, reading)) < 18:
            highest = max(highest, held(gateway))
            await asyncio.sleep(0)
        answers = [one.result() for one in reading if one.done()]
        for one in reading:
            one.cancel()

        assert {answer.status for answer in answers} == {503}
        assert answers[0].header("retry-after")
        assert b'"BODIES_BUSY"' in answers[0].body
        assert 0 < highest <= 2 * _MIB


async def test_what_was_held_is_free_when_its_clients_have_gone(service: SampleService) -> None:
    token = service.authority.token()
    async with bounded(service) as (gateway, url):
        async with connected(url) as client:
            client.writer.write(echo(_MIB, token) + b" " * (_MIB - 1))
            await until(lambda: held(gateway) == _MIB - 1)

        await until(lambda: held(gateway) == 0)


async def test_a_body_is_held_until_its_request_is_answered(service: SampleService) -> None:
    body = b'{"text": "hang"}'
    async with bounded(service) as (gateway, url), connected(url) as client:
        client.writer.write(echo(len(body), service.authority.token()) + body)
        await until(lambda: service.texts)

        assert held(gateway) == len(body)


async def test_one_tenant_leaves_room_for_others(service: SampleService) -> None:
    ada, eve = [service.authority.token(tenant=tenant) for tenant in ("ada", "eve")]
    body = b'{"text": "%b"}' % (b"x" * _MIB)
    async with bounded(service) as (gateway, url), AsyncExitStack() as stack:
        for _ in range(2):
            client = await stack.enter_async_context(connected(url))
            client.writer.write(echo(_MIB, ada) + b" " * (_MIB - 1))
        await until(lambda: held(gateway) == 2 * (_MIB - 1))
        statuses = []
        for token in (ada, eve):
            async with connected(url) as client:
                client.writer.write(echo(len(body), token) + body)
                statuses.append((await refused(client)).status)

    assert statuses == [503, 201]


async def test_lines_that_have_not_ended_are_counted(service: SampleService) -> None:
    token = service.authority.token()
    head = post("/v1/sum", "application/x-ndjson", 8 * _MIB, token)
    async with bounded(service) as (gateway, url), AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(connected(url)) for _ in range(2)]
        first.writer.write(head + b'{"number": 1}\n' + b" " * (_MIB + 1))
        await until(lambda: held(gateway) == _MIB + 1)
        second.writer.write(head + b" " * _MIB)

        answer = await refused(second)

    assert answer.status == 503


async def test_lines_that_were_passed_on_are_counted_no_more(service: SampleService) -> None:
    line = b'{"number": 1}%b\n' % (b" " * 2**16)
    count = 8 * _MIB // len(line)
    token = service.authority.token()
    async with bounded(service) as (_, url), connected(url) as client:
        head = post("/v1/sum", "application/x-ndjson", count * len(line), token)
        client.writer.write(head + line * count)

        answer = await refused(client)

    assert answer.status == 200
    assert service.sums == [count]


async def test_a_budget_that_is_too_small_for_one_body_is_told(service: SampleService) -> None:
    with pytest.raises(WrongSettings, match="GATEWAY_BODIES_MIB"):
        async with gateway_before(service, {"GATEWAY_BODIES_MIB": "23"}):
            pass
