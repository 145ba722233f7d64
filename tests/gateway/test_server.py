"""The server itself: bounds on what comes in, and an orderly end."""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from gateway.serving import server
from gateway.serving.server import PortTaken, listen, serve
from tests.gateway.sample import NOBODY, Gateway, SampleService, gateway_before, until


@asynccontextmanager
async def raw(service: SampleService, **environ: str) -> AsyncIterator["Connection"]:
    """A connection to a gateway, byte by byte."""
    response = {f"GATEWAY_{name.upper()}": value for name, value in environ.items()}
    async with gateway_before(service, response) as gateway, gateway.listening() as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        try:
            yield Connection(reader, writer, signed(service))
        finally:
            writer.close()


def signed(service: SampleService) -> Callable[[bytes], bytes]:
    """Puts a token into the head of a request that is written by hand."""
    host = b"host: x\r\n"
    token = f"authorization: Bearer {service.authority.token()}\r\n".encode()
    return lambda head: head.replace(host, host + token)


class Connection:
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        sign: Callable[[bytes], bytes],
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._sign = sign

    async def answer(self, *parts: bytes) -> bytes:
        """Everything that comes until the server hangs up."""
        for part in parts:
            self.writer.write(self._sign(part))
            await self.writer.drain()
        async with asyncio.timeout(60):
            return await self.reader.read()


def error_of(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"x-correlation-id: " in head.lower()
    result: dict[str, object] = json.loads(body)["error"]
    return result


_POST = b"POST /v1/echo HTTP/1.1\r\nhost: x\r\n"


async def test_a_body_that_says_it_is_too_large_is_413_before_it_is_sent(
    service: SampleService,
) -> None:
    async with raw(service, body_bytes_max="1024") as connection:
        answer = await connection.answer(_POST + b"content-length: 1025\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert error_of(answer)["code"] == "PAYLOAD_TOO_LARGE"


async def test_a_body_that_turns_out_too_large_is_413(service: SampleService) -> None:
    chunk = b"200\r\n" + b" " * 512 + b"\r\n"
    async with raw(service, body_bytes_max="1024") as connection:
        answer = await connection.answer(
            _POST + b"transfer-encoding: chunked\r\n\r\n", chunk, chunk, chunk
        )

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_client_that_sends_too_much_at_once_sees_the_413(service: SampleService) -> None:
    size = 2**23
    async with raw(service, body_bytes_max="1024") as connection:
        answer = await connection.answer(
            _POST + b"content-length: %d\r\n\r\n" % size, *[b" " * 2**16] * (size // 2**16)
        )

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert error_of(answer)["code"] == "PAYLOAD_TOO_LARGE"


async def test_a_body_of_exactly_the_limit_is_taken(service: SampleService) -> None:
    body = b'{"text": "' + b"x" * 1012 + b'"}'
    assert len(body) == 1024
    async with raw(service, body_bytes_max="1024") as connection:
        answer = await connection.answer(
            _POST + b"connection: close\r\ncontent-length: 1024\r\n\r\n" + body
        )

    assert answer.startswith(b"HTTP/1.1 201 ")


async def test_a_body_that_comes_too_slowly_is_408(service: SampleService) -> None:
    async with raw(service, body_timeout_s="0.2") as connection:
        answer = await connection.answer(_POST + b"content-length: 10\r\n\r\n{")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert error_of(answer)["code"] == "REQUEST_TIMEOUT"


async def test_headers_that_come_too_slowly_end_the_connection(service: SampleService) -> None:
    async with raw(service, header_timeout_s="0.2") as connection:
        assert await connection.answer(b"GET / HTTP/1.1\r\nx: ") == b""


async def test_a_connection_that_says_nothing_is_ended(service: SampleService) -> None:
    async with raw(service, header_timeout_s="0.2") as connection:
        assert await connection.answer() == b""


async def test_the_next_request_of_a_connection_must_come_in_time_too(
    service: SampleService,
) -> None:
    async with raw(service, header_timeout_s="0.2") as connection:
        answer = await connection.answer(
            b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n", b"GET /health/live HTTP/1.1\r\nx: "
        )

    assert answer.count(b"HTTP/1.1 ") == 1


async def test_more_connections_than_allowed_are_told_so_and_closed(
    service: SampleService,
) -> None:
    async with raw(service, connection_count_max="1") as connection:
        host, port = connection.writer.get_extra_info("peername")[:2]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(_POST + b"content-length: 2\r\n\r\n{}")

        # At once, not when its headers are overdue.
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in answer
    assert b'"reason":"GATEWAY_BUSY"' in answer


async def test_of_very_many_some_are_closed_unanswered(
    service: SampleService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_REFUSED_COUNT_MAX", 1)
    async with raw(service, connection_count_max="1") as connection:
        host, port = connection.writer.get_extra_info("peername")[:2]
        refused, refused_writer = await asyncio.open_connection(host, port)
        await refused.readuntil(b"503")
        unanswered, writer = await asyncio.open_connection(host, port)

        assert await asyncio.wait_for(unanswered.read(), 60) == b""
        refused_writer.close()
        writer.close()


async def test_an_answer_that_nobody_reads_is_dropped_in_the_end(service: SampleService) -> None:
    environ = {"GATEWAY_STREAM_WRITE_TIMEOUT_S": "0.2"}
    body = json.dumps({"text": "x" * 7 * 2**20}).encode()
    async with gateway_before(service, environ) as gateway, gateway.listening() as client:
        # What a large body needs is open from now on.
        assert (await gateway.client.post("/v1/echo", content=body)).status_code == 201
        open_before = _open_file_count()
        with socket.socket() as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sender.connect((client.base_url.host, client.base_url.port or 80))
            head = signed(service)(_POST) + b"content-length: %d\r\n\r\n" % len(body)
            sending = head + body
            await asyncio.to_thread(sender.sendall, sending)
            await until(lambda: len(service.calls) == 2)
            await until(lambda: _open_file_count() == open_before + 1)

            taken = await asyncio.to_thread(_read_all, sender)

    assert 0 < taken < len(body)


def _open_file_count() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _read_all(sender: socket.socket) -> int:
    """How much is there. A system that gave the connection up may not have told the other."""
    sender.settimeout(2)
    count = 0
    with contextlib.suppress(OSError):
        while part := sender.recv(2**20):
            count += len(part)
    return count


@pytest.mark.parametrize("path", ["/v1/%zz", "/v1//numbers/5", "/v1/numbers/5;x=1/.."])
async def test_odd_paths_lead_nowhere(path: str, service: SampleService) -> None:
    head = f"OPTIONS {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    async with raw(service) as connection:
        answer = await connection.answer(head.encode())

    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_a_port_that_is_taken_is_told() -> None:
    with listen("127.0.0.1:0") as listener, pytest.raises(PortTaken):
        listen(f"127.0.0.1:{listener.getsockname()[1]}")


async def test_sigterm_drains_and_then_ends(service: SampleService) -> None:
    environ = {"GATEWAY_DRAIN_S": "0.3"}
    async with gateway_before(service, environ) as gateway:
        with listen("127.0.0.1:0") as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            serving = asyncio.ensure_future(
                serve(
                    gateway.application,
                    gateway.settings,
                    gateway.lifecycle,
                    listener,
                    gateway.tasks,
                )
            )
            async with httpx.AsyncClient(
                base_url=url,
                trust_env=False,
                verify=NOBODY,
                timeout=20,
                headers=service.authority.headers(),
            ) as client:
                await _drained(gateway, client)
            await asyncio.wait_for(serving, 60)

    assert service.cancelled.is_set()


async def _drained(gateway: Gateway, client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/ready")).status_code == 200
    async with client.stream("GET", "/v1/count?to=1&hang=true") as stream:
        arriving = stream.aiter_lines()
        await anext(arriving)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: gateway.lifecycle.is_draining)

        # Not ready, and yet it serves: those who send requests take a while to notice.
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200
        served = await client.post("/v1/echo", json={})
        assert served.status_code == 201
        # A balancer that gives whole connections away has the next one go elsewhere.
        assert served.headers["connection"] == "close"
        last = json.loads(await anext(arriving))
        assert last["error"]["details"]["reason"] == "GATEWAY_STOPPING"
