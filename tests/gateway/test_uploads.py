"""Bodies that are streams of lines: one message each, answered as they come."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from services.plumbing.grpc import requests
from tests.gateway.sample import (
    LAST_NUMBER,
    REFUSED_NUMBER,
    Gateway,
    SampleService,
    gateway_before,
    until,
)
from tests.gateway.test_streams import events

_LINES = {"content-type": "application/x-ndjson"}


def lines(*numbers: int) -> bytes:
    return b"".join(b'{"number": %d}\n' % number for number in numbers)


async def test_each_line_is_answered_by_a_line_in_order(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/converse", content=lines(1, 2, 3), headers=_LINES)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    result = [json.loads(line) for line in answer.text.splitlines()]
    assert [one["sum"] for one in result] == ["1", "3", "6"]


@pytest.mark.parametrize(
    "body", [b'{"number":1}\n{"number":2}', b'\n\n{"number":1}\r\n \n{"number":2}\n\n', b""]
)
async def test_empty_lines_and_a_missing_last_end_do_no_harm(
    body: bytes, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/v1/converse", content=body, headers=_LINES)

    sums = [json.loads(line)["sum"] for line in answer.text.splitlines()]
    assert sums == (["1", "3"] if body else [])


async def test_a_body_of_json_is_one_message_whatever_lines_it_has(
    client: httpx.AsyncClient,
) -> None:
    headers = {"content-type": "application/json"}

    answer = await client.post("/v1/converse", content=b'{\n"number":\n3}\n', headers=headers)

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["sum"] for line in answer.text.splitlines()] == ["3"]


async def test_an_answer_comes_before_the_next_line_is_sent(online: httpx.AsyncClient) -> None:
    async with conversation(online) as (reader, writer):
        writer.write(chunk(b'{"number": 1}\n{"num'))
        first = await reader.readuntil(b'"sum":"1"')
        writer.write(chunk(b'ber": 2}\n'))
        await reader.readuntil(b'"sum":"3"')

    assert first.startswith(b"HTTP/1.1 200 ")


async def test_an_answer_can_be_events(client: httpx.AsyncClient) -> None:
    headers = _LINES | {"accept": "text/event-stream"}

    answer = await client.post("/v1/converse", content=lines(1), headers=headers)

    result = events(answer.text)
    assert json.loads(result[0]["data"])["sum"] == "1"
    assert result[-1]["event"] == "end"


async def test_what_came_before_a_bad_line_is_answered_before_it_is_refused(
    client: httpx.AsyncClient,
) -> None:
    body = lines(1, 2) + b'{"nope": 3}\n' + lines(4)

    answer = await client.post("/v1/converse", content=body, headers=_LINES)

    *good, bad = [json.loads(line) for line in answer.text.splitlines()]
    assert [one["sum"] for one in good] == ["1", "3"]
    assert bad["error"]["code"] == "INVALID_ARGUMENT"
    assert bad["error"]["details"]["violations"][0]["field"] == "line 3.nope"


async def test_a_first_line_that_is_bad_has_a_status_of_its_own(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/converse", content=b"nonsense\n", headers=_LINES)

    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["violations"][0]["field"] == "line 1"


async def test_a_service_that_ends_the_call_says_why(client: httpx.AsyncClient) -> None:
    at_once = await client.post("/v1/converse", content=lines(-1), headers=_LINES)
    later = await client.post("/v1/converse", content=lines(1, -1, 2), headers=_LINES)

    assert at_once.status_code == 404
    assert later.status_code == 200
    assert json.loads(later.text.splitlines()[-1])["error"]["code"] == "NOT_FOUND"


@pytest.mark.parametrize("path", ["/v1/converse", "/v1/sum"])
async def test_a_service_that_refuses_a_long_body_says_why(
    path: str, client: httpx.AsyncClient
) -> None:
    body = lines(-1, *range(1_000))

    answers = [await client.post(path, content=body, headers=_LINES) for _ in range(20)]

    assert {answer.status_code for answer in answers} == {404}


@pytest.mark.parametrize("path", ["/v1/converse", "/v1/sum"])
async def test_a_service_that_refuses_a_body_that_goes_on_says_why(
    path: str, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "DISCARD_BYTES_MAX", 1)

    async def body() -> AsyncIterator[bytes]:
        yield lines(-1)
        for _ in range(1_000):
            yield lines(*range(20))

    answers = [await client.post(path, content=body(), headers=_LINES) for _ in range(20)]

    assert {answer.status_code for answer in answers} == {404}


async def test_a_client_that_pauses_while_others_wait_is_told_so_behind_its_answers(
    online: httpx.AsyncClient,
) -> None:
    async with conversation(online) as (reader, writer):
        writer.write(chunk(lines(1, LAST_NUMBER)))  # and the body goes on, some time
        answer = (await reader.read()).decode()

    assert answer.index('"sum":"1"') < answer.index('"sum":"15"') < answer.index('"error"')
    assert '"code":"UNAVAILABLE"' in answer
    assert '"reason":"CALL_IDLE"' in answer


async def test_a_refusal_of_one_line_is_told_as_errors_are(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/converse", content=lines(REFUSED_NUMBER), headers=_LINES)

    assert json.loads(answer.text)["refusal"] == {
        "code": "ABORTED",
        "message": "it changed",
        "details": {
            "reason": "THING_CHANGED",
            "domain": "events.girih",
            "metadata": {"times": "3"},
        },
    }


async def test_all_lines_can_have_one_answer(
    client: httpx.AsyncClient, service: SampleService
) -> None:
    answer = await client.post("/v1/sum", content=lines(1, 2, 3), headers=_LINES)

    assert answer.json() == {"sum": "6"}
    assert service.sums == [6]


async def test_one_bad_line_among_many_has_no_effect(
    client: httpx.AsyncClient, service: SampleService
) -> None:
    answer = await client.post("/v1/sum", content=lines(1) + b"{\n" + lines(2), headers=_LINES)

    assert answer.status_code == 400
    assert service.sums == []


@pytest.mark.parametrize("media_type", ["application/xml", "text/plain"])
async def test_another_media_type_is_415(media_type: str, client: httpx.AsyncClient) -> None:
    headers = {"content-type": media_type}

    answer = await client.post("/v1/converse", content=lines(1), headers=headers)

    assert answer.status_code == 415


async def test_a_line_that_is_too_long_is_413_and_not_collected(service: SampleService) -> None:
    environ = {"GATEWAY_LINE_BYTES_MAX": "1024"}
    async with gateway_before(service, environ) as gateway, gateway.listening() as client:
        fitting = await client.post("/v1/sum", content=b" " * 1000 + lines(1), headers=_LINES)
        long = await client.post("/v1/sum", content=b" " * 2**20, headers=_LINES)

    assert fitting.status_code == 200
    assert long.status_code == 413
    assert long.json()["error"]["details"]["reason"] == "LINE_TOO_LARGE"


async def test_a_line_that_does_not_come_is_408(service: SampleService) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"number"'
        await asyncio.sleep(5)

    environ = {"GATEWAY_LINE_TIMEOUT_S": "0.2"}
    async with gateway_before(service, environ) as gateway, gateway.listening() as client:
        answer = await client.post("/v1/sum", content=body(), headers=_LINES)

    assert answer.status_code == 408


async def test_a_client_that_leaves_ends_its_upload(
    gateway: Gateway, online: httpx.AsyncClient
) -> None:
    async with conversation(online) as (reader, writer):
        writer.write(chunk(lines(1)))
        await reader.readuntil(b'"sum":"1"')
        assert gateway.application.metrics.in_flight_count == 1

    await until(lambda: gateway.application.metrics.in_flight_count == 0)


async def test_a_client_that_does_not_read_is_not_read_from(service: SampleService) -> None:
    """The service is as fast as its slowest reader, and nothing is collected on the way."""
    environ = {"GATEWAY_STREAM_WRITE_TIMEOUT_S": "1"}
    line = b'{"number": 1, "text_length": 10000}\n'
    async with (
        gateway_before(service, environ) as gateway,
        gateway.listening() as client,
        conversation(client) as (reader, writer),
    ):
        reader._transport.pause_reading()  # type: ignore[attr-defined] # nobody reads
        sending = asyncio.ensure_future(_send_for_ever(writer, chunk(line * 100)))
        await until(lambda: service.taken)
        await until(lambda: gateway.application.metrics.in_flight_count == 0)
        sending.cancel()

    assert service.taken < 10_000


@contextlib.asynccontextmanager
async def conversation(
    client: httpx.AsyncClient,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which a body has begun; httpx would not read before it has sent all."""
    host, port = client.base_url.host, client.base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    head = (
        "POST /v1/converse HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n"
        f"authorization: {client.headers['authorization']}\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    writer.write(head.encode())
    try:
        async with asyncio.timeout(60):
            yield reader, writer
    finally:
        # Closing would wait for what nobody takes any more.
        writer.transport.abort()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _send_for_ever(writer: asyncio.StreamWriter, chunk: bytes) -> None:
    while True:
        writer.write(chunk)
        await writer.drain()
