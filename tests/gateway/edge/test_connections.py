"""How long a connection may take, and what it may cost, whatever its client does."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.http.exchange import Receive, Scope, Send
from gateway.serving.server import listen, running
from tests.gateway.edge.client import PROBE, Client, connected
from tests.gateway.edge.corpus import read_answer
from tests.gateway.sample import Gateway, SampleService, gateway_before, until

_ECHO = b"POST /v1/echo HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


@asynccontextmanager
async def opened(
    service: SampleService, **environ: str
) -> AsyncIterator[tuple[Gateway, httpx.URL]]:
    """A gateway that listens, and where."""
    settings = {f"GATEWAY_{name.upper()}": value for name, value in environ.items()}
    async with gateway_before(service, settings) as gateway, gateway.listening() as client:
        yield gateway, client.base_url


async def closed(client: Client) -> bool:
    """Whether the server hangs up, however much is sent to it meanwhile."""

    async def trickle() -> None:
        while True:
            client.writer.write(b"x")
            await asyncio.sleep(0.02)

    trickling = asyncio.ensure_future(trickle())
    try:
        async with asyncio.timeout(10):
            return not await client.reader.read()
    except ConnectionError:
        return True
    finally:
        trickling.cancel()


# Time


async def test_the_rest_of_a_refused_body_holds_no_connection(service: SampleService) -> None:
    async with opened(service, keep_alive_s="0.2") as (_, url), connected(url) as client:
        client.writer.write(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
        answer = await read_answer(client.reader)

        assert answer is not None
        assert answer.status == 404
        assert await closed(client)


@pytest.mark.parametrize(
    "begin",
    [b"", b"GET / HTTP/1.1\r\nx: ", b"\r\n"],
    ids=["nothing", "a head", "an empty line"],
)
async def test_bytes_do_not_put_off_the_end_of_a_head_that_takes_too_long(
    begin: bytes, service: SampleService
) -> None:
    async with opened(service, header_timeout_s="0.3") as (_, url), connected(url) as client:
        client.writer.write(begin)

        assert await closed(client)


async def test_bytes_do_not_put_off_the_end_of_the_next_head(service: SampleService) -> None:
    async with opened(service, header_timeout_s="0.3") as (_, url), connected(url) as client:
        assert await client.probe()

        assert await closed(client)


async def test_empty_lines_do_not_keep_an_idle_connection(service: SampleService) -> None:
    async with opened(service, keep_alive_s="0.3") as (_, url), connected(url) as client:
        assert await client.probe()
        client.writer.write(b"\r\n")

        assert await client.reader.read() == b""


async def test_an_idle_connection_is_closed_in_time(service: SampleService) -> None:
    async with opened(service, keep_alive_s="0.2") as (_, url), connected(url) as client:
        assert await client.probe()

        assert await client.reader.read() == b""


async def test_what_is_left_of_an_unread_answer_holds_no_second_request(
    service: SampleService,
) -> None:
    head = _ECHO % service.authority.token().encode()
    body = b'{"text": "%b"}' % (b"x" * 2**22)
    async with opened(service, stream_write_timeout_s="0.3") as (gateway, url):
        # What a large body needs is open from now on.
        assert (await gateway.client.post("/v1/echo", content=body)).status_code == 201
        open_before = _open_file_count()
        with socket.socket() as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sender.connect((url.host, url.port or 80))
            request = head + b"content-length: %d\r\n\r\n" % len(body) + body
            second = head + b"content-length: 2\r\n\r\n{}"
            await asyncio.to_thread(sender.sendall, request + second)
            await until(lambda: len(service.texts) == 2)
            await until(lambda: _open_file_count() == open_before + 1)

    assert len(service.texts) == 2


def _open_file_count() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_call_whose_client_sends_no_more_and_reads_nothing_is_ended(
    service: SampleService,
) -> None:
    head = _ECHO % service.authority.token().encode()
    async with opened(service) as (_, url), connected(url) as client:
        client.writer.write(head + b'content-length: 16\r\n\r\n{"text": "hang"}')
        await until(lambda: service.texts)
        client.writer.write_eof()

        await asyncio.wait_for(service.cancelled.wait(), 10)


async def test_all_requests_are_answered_whose_client_then_sends_no_more(
    service: SampleService,
) -> None:
    async with opened(service) as (_, url), connected(url) as client:
        client.writer.write(PROBE * 50 + b"GET / HT")
        client.writer.write_eof()

        answers = [await read_answer(client.reader) for _ in range(50)]
        assert all(answer is not None and answer.status == 200 for answer in answers)
        assert await client.reader.read() == b""


async def test_a_later_call_is_ended_as_well_whose_client_sends_no_more_and_reads_nothing(
    service: SampleService,
) -> None:
    head = _ECHO % service.authority.token().encode()
    async with opened(service) as (_, url), connected(url) as client:
        client.writer.write(PROBE * 2 + head + b'content-length: 16\r\n\r\n{"text": "hang"}')
        client.writer.write_eof()
        await until(lambda: service.texts)

        await asyncio.wait_for(service.cancelled.wait(), 10)


async def test_a_call_is_ended_at_once_when_its_client_resets_the_connection(
    service: SampleService,
) -> None:
    head = _ECHO % service.authority.token().encode()
    async with opened(service) as (_, url), connected(url) as client:
        client.writer.write(head + b'content-length: 16\r\n\r\n{"text": "hang"}')
        await until(lambda: service.texts)
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.writer.transport.abort()

        await asyncio.wait_for(service.cancelled.wait(), 10)


# Memory


async def test_endless_trailers_are_refused_and_kept_nowhere(service: SampleService) -> None:
    head = _ECHO % service.authority.token().encode() + _CHUNKED
    async with opened(service) as (_, url), connected(url) as client:
        client.writer.write(head + b"2\r\n{}\r\n0\r\nx: ")
        before = _resident_bytes()

        answer = await _flooded(client, b"y" * 2**16)

    assert answer == 431
    assert _resident_bytes() - before < 2**24


async def test_endless_requests_behind_one_that_is_served_wait_with_their_client(
    service: SampleService,
) -> None:
    head = _ECHO % service.authority.token().encode()
    async with opened(service) as (gateway, url), connected(url) as client:
        client.writer.write(head + b'content-length: 16\r\n\r\n{"text": "hang"}')
        await until(lambda: service.texts)
        client.writer.transport.set_write_buffer_limits(high=2**27)
        before = _resident_bytes()
        client.writer.write(PROBE * 2**18)
        await asyncio.sleep(0)
        sent = client.writer.transport.get_write_buffer_size()
        await _until_still(client.writer)

        assert gateway.application.metrics.in_flight_count == 1
        assert client.writer.transport.get_write_buffer_size() > sent / 2
        assert _resident_bytes() - before < 2**25


async def _until_still(writer: asyncio.StreamWriter) -> None:
    """Until the server takes no more of what is written."""
    last = -1
    while writer.transport.get_write_buffer_size() != last:
        last = writer.transport.get_write_buffer_size()
        await asyncio.sleep(0.2)


async def _flooded(client: Client, data: bytes) -> int:
    """The status that comes while this is sent again and again."""

    async def flood() -> None:
        while True:
            client.writer.write(data)
            await client.writer.drain()

    flooding = asyncio.ensure_future(flood())
    async with asyncio.timeout(10):
        answer = await read_answer(client.reader)
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)
    assert answer is not None
    return answer.status


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# What a trailer may not be taken for


async def test_a_trailer_says_nothing_of_where_a_request_comes_from(
    service: SampleService,
) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        seen.extend(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    async with gateway_before(service) as gateway:
        with listen("127.0.0.1:0") as listener:
            url = httpx.URL(f"http://127.0.0.1:{listener.getsockname()[1]}")
            async with (
                running(app, gateway.settings, gateway.lifecycle, listener),
                connected(url) as client,
            ):
                client.writer.write(
                    b"POST / HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 198.51.100.7\r\n"
                )
                client.writer.write(_CHUNKED + b"0\r\nx-forwarded-for: 192.0.2.1\r\n\r\n")
                assert await read_answer(client.reader)

    assert [value for name, value in seen if name == b"x-forwarded-for"] == [b"198.51.100.7"]


# The last answer


async def test_the_last_answer_is_whole_though_its_client_sends_more(
    service: SampleService,
) -> None:
    token = service.authority.token().encode()
    async with opened(service) as (gateway, url):
        reader, writer = await asyncio.open_connection(url.host, url.port, limit=2**14)
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(b"GET /v1/picture?chunkBytes=%d HTTP/1.0\r\n" % 2**22)
        writer.write(b"authorization: Bearer %b\r\n\r\n" % token + b"x" * 2**24)
        await reader.readuntil(b"\r\n\r\n")
        await until(lambda: not gateway.application.metrics.in_flight_count)
        # Closed at once, the system would throw away what it still has to send.
        await asyncio.sleep(0.2)
        body = await reader.read(-1)
        # What it sends is taken, and thrown away.
        await asyncio.wait_for(writer.drain(), 10)
        writer.transport.abort()

    assert len(body) == 2**22


# HTTP/1.0


async def test_a_stream_to_http_1_0_ends_with_its_connection(service: SampleService) -> None:
    token = service.authority.token().encode()
    async with opened(service) as (_, url), connected(url) as client:
        client.writer.write(
            b"GET /v1/count?to=2 HTTP/1.0\r\nauthorization: Bearer %b\r\n\r\n" % token
        )
        head, _, body = (await client.reader.read()).partition(b"\r\n\r\n")

    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    assert body.count(b"\n") == 2
    assert body.startswith(b"{")
