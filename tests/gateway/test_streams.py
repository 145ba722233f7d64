"""Streams as lines and as events: their form, their failures and their end."""

import asyncio
import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.endpoints import stream_encodings, streams
from tests.gateway.sample import Gateway, SampleService, descriptor, gateway_before, until

_EVENTS = {"accept": "text/event-stream"}


def lines(answer: httpx.Response) -> list[Any]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def events(text: str) -> list[dict[str, str]]:
    """Server-sent events as a browser reads them, comments left out."""
    result = []
    for block in text.split("\n\n"):
        pairs = (line.partition(": ")[::2] for line in block.splitlines())
        event = {name: value for name, value in pairs if name}
        if "data" in event:
            result.append(event)
    return result


async def test_a_batch_is_told_element_by_element(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/count?to=250&batchSize=120")

    assert answer.status_code == 200
    assert [line["position"] for line in lines(answer)] == [str(n) for n in range(1, 251)]
    assert lines(answer)[6] == {"position": "7", "text": "", "json": {"n": 7}}


async def test_a_field_beside_the_items_is_not_shown(client: httpx.AsyncClient) -> None:
    as_lines = lines(await client.get("/v1/count?to=1"))
    as_events = events((await client.get("/v1/count?to=1", headers=_EVENTS)).text)

    assert "head" in descriptor("CountResponse").fields_by_name
    assert as_lines == [{"position": "1", "text": "", "json": {"n": 1}}]
    assert [json.loads(event["data"]) for event in as_events] == [*as_lines, {}]


async def test_other_messages_are_told_as_they_are(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/count-plainly?to=2")

    assert [line["counted"]["position"] for line in lines(answer)] == ["1", "2"]
    assert lines(answer)[0]["more"] == []


async def test_an_empty_stream_is_an_empty_answer(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/count")

    assert (answer.status_code, answer.content) == (200, b"")


async def test_events_have_the_id_that_the_contract_names(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/count?to=2", headers=_EVENTS)

    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-accel-buffering"] == "no"
    result = events(answer.text)
    assert [event.get("id") for event in result] == ["1", "2", None]
    assert json.loads(result[0]["data"]) == {"position": "1", "text": "", "json": {"n": 1}}
    assert result[-1] == {"event": "end", "data": "{}"}


async def test_events_of_a_contract_that_names_no_id_have_none(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/count-plainly?to=1", headers=_EVENTS)

    assert "id" not in events(answer.text)[0]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "application/x-ndjson"),
        ("*/*", "application/x-ndjson"),
        ("text/html, */*;q=0.1", "application/x-ndjson"),
        ("application/x-ndjson, text/event-stream", "application/x-ndjson"),
        ("Text/Event-Stream, application/x-ndjson", "text/event-stream"),
        ("text/event-stream;q=0.1, application/x-ndjson;q=0.9", "application/x-ndjson"),
        ("application/x-ndjson;q=0.1, text/event-stream;q=0.9", "text/event-stream"),
        ("*/*, text/event-stream", "text/event-stream"),
        ("text/*, application/x-ndjson;q=0.5", "text/event-stream"),
        ("*/*;q=0.9, text/event-stream;q=0.5", "application/x-ndjson"),
        ("text/event-stream;q=0, application/x-ndjson;q=0", "application/x-ndjson"),
        ("text/event-stream;q=0, */*", "application/x-ndjson"),
        ("text/event-stream; Q=0.000, */*", "application/x-ndjson"),
        ("application/x-ndjson;q=0, text/event-stream;q=0.001", "text/event-stream"),
    ],
)
async def test_the_client_chooses_the_form(
    accept: str, media_type: str, client: httpx.AsyncClient
) -> None:
    answer = await client.get("/v1/count?to=1", headers={"accept": accept})

    assert answer.headers["content-type"] == media_type


async def test_a_stream_that_fails_midway_ends_with_the_error(client: httpx.AsyncClient) -> None:
    query = "/v1/count?to=5&batchSize=1&failAfter=2"

    as_lines = lines(await client.get(query))
    as_events = events((await client.get(query, headers=_EVENTS)).text)

    assert [line.get("position") for line in as_lines] == ["1", "2", None]
    assert as_lines[-1]["error"]["code"] == "ABORTED"
    assert as_lines[-1]["error"]["details"]["explanation"] == {"times": "9007199254740993"}
    assert [event.get("event") for event in as_events] == [None, None, "error"]
    assert json.loads(as_events[-1]["data"])["error"]["details"]["reason"] == "THING_CHANGED"


async def test_a_stream_arrives_while_it_goes_on(online: httpx.AsyncClient) -> None:
    async with online.stream("GET", "/v1/count?to=2&batchSize=1&hang=true") as answer:
        arriving = answer.aiter_lines()
        result = [json.loads(await anext(arriving)) for _ in range(2)]

    assert [line["position"] for line in result] == ["1", "2"]


async def test_a_client_that_leaves_cancels_its_stream(
    gateway: Gateway, online: httpx.AsyncClient
) -> None:
    async with online.stream("GET", "/v1/count?to=1&hang=true") as answer:
        await anext(answer.aiter_lines())

    await gateway.service.cancelled.wait()


async def test_a_client_that_leaves_before_the_first_message_cancels_too(
    gateway: Gateway, online: httpx.AsyncClient
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await online.get("/v1/count?hang=true", timeout=httpx.Timeout(20, read=0.3))

    await gateway.service.cancelled.wait()


async def test_a_quiet_event_stream_says_that_it_is_alive(service: SampleService) -> None:
    environ = {"GATEWAY_STREAM_HEARTBEAT_S": "0.05"}
    async with gateway_before(service, environ) as gateway, gateway.listening() as client:
        query = "/v1/count?to=1&hang=true"
        async with client.stream("GET", query, headers=_EVENTS) as answer:
            arriving = answer.aiter_lines()
            while await anext(arriving) != ": alive":
                pass


async def test_nothing_is_said_within_an_event_that_is_sent_in_parts(
    service: SampleService,
) -> None:
    environ = {"GATEWAY_STREAM_HEARTBEAT_S": "0.0001"}
    async with gateway_before(service, environ) as gateway, gateway.listening() as client:
        query = "/v1/count-plainly?to=100&textLength=20000"
        answer = await client.get(query, headers=_EVENTS)

    answers = [json.loads(event["data"]) for event in events(answer.text) if "event" not in event]
    assert [one["counted"]["position"] for one in answers] == [str(n) for n in range(1, 101)]


async def test_a_stopping_gateway_ends_its_streams_with_an_error(
    gateway: Gateway, online: httpx.AsyncClient
) -> None:
    async with online.stream("GET", "/v1/count?to=1&hang=true") as answer:
        arriving = answer.aiter_lines()
        await anext(arriving)
        gateway.lifecycle.stop()
        last = json.loads(await anext(arriving))

    assert last["error"]["details"]["reason"] == "GATEWAY_STOPPING"
    await gateway.service.cancelled.wait()


async def test_a_quiet_stream_says_at_once_that_it_is_open(online: httpx.AsyncClient) -> None:
    async with online.stream("GET", "/v1/count?follow=true", headers=_EVENTS) as answer:
        first = await anext(answer.aiter_lines())

    assert answer.status_code == 200
    assert first == "retry: 2000"


async def test_a_quiet_stream_that_is_refused_has_a_status_of_its_own(
    online: httpx.AsyncClient,
) -> None:
    answer = await online.get("/v1/count?follow=true&failAfter=0", headers=_EVENTS)

    assert answer.status_code == 409


@pytest.mark.parametrize("accepts", [True, False])
async def test_a_quiet_stream_is_refused_by_its_status_however_long_that_takes(
    service: SampleService, online: httpx.AsyncClient, *, accepts: bool
) -> None:
    service.placing_s, service.accepts = 0.3, accepts

    answer = await online.get("/v1/count?follow=true&failAfter=0", headers=_EVENTS)

    assert answer.status_code == 409


@pytest.mark.parametrize("accepts", [True, False])
async def test_a_quiet_stream_that_takes_long_to_place_is_open_once_it_is_accepted_or_answered(
    service: SampleService, online: httpx.AsyncClient, *, accepts: bool
) -> None:
    service.placing_s, service.accepts = 0.3, accepts
    query = "/v1/count?follow=true" if accepts else "/v1/count?follow=true&to=1"

    async with asyncio.timeout(10), online.stream("GET", query, headers=_EVENTS) as answer:
        first = await anext(answer.aiter_lines())

    assert answer.status_code == 200
    assert first == "retry: 2000"


async def test_a_service_that_says_nothing_ahead_of_what_it_answers_does_not_keep_a_stream_closed(
    service: SampleService, online: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ACCEPTED_S_MAX", 0.1)
    service.accepts = False

    async with online.stream("GET", "/v1/count?follow=true", headers=_EVENTS) as answer:
        arriving = answer.aiter_lines()
        begin = await anext(arriving)
        service.count_on(1)
        lines_of_event = [await anext(arriving) for _ in range(3)]

    assert (answer.status_code, begin) == (200, "retry: 2000")
    assert "id: 1" in lines_of_event


async def test_a_stream_that_ends_by_itself_is_waited_for_before_it_begins(
    online: httpx.AsyncClient,
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await online.get("/v1/count?hang=true", timeout=httpx.Timeout(20, read=0.3))


@pytest.mark.parametrize(
    "query", ["to=5", "to=5&fromPosition=2", "to=5&fromPlace=1", "to=5&fromPosition=9&fromPlace=9"]
)
async def test_a_browser_that_comes_back_goes_on_behind_what_it_has_seen(
    query: str, client: httpx.AsyncClient
) -> None:
    headers = _EVENTS | {"last-event-id": "3"}

    answer = await client.get(f"/v1/count?{query}", headers=headers)

    assert [event["id"] for event in events(answer.text)[:-1]] == ["4", "5"]


@pytest.mark.parametrize(("last", "rest"), [("4", ["3", "2", "1"]), ("2", ["1"]), ("1", [])])
async def test_a_client_that_reads_backwards_sees_nothing_twice(
    last: str, rest: list[str], client: httpx.AsyncClient
) -> None:
    headers = _EVENTS | {"last-event-id": last}

    answer = await client.get("/v1/count?to=5&order=ORDER_FALLING", headers=headers)

    assert [event["id"] for event in events(answer.text)[:-1]] == rest


async def test_an_id_says_what_it_belongs_to_and_goes_on_in_nothing_else(
    client: httpx.AsyncClient,
) -> None:
    async def ids(last: str, incarnation: str = "a1") -> list[str]:
        headers = _EVENTS | ({"last-event-id": last} if last else {})
        path = f"/v1/count?to=3&presentIncarnation={incarnation}"
        answer = await client.get(path, headers=headers)
        if answer.status_code == 409:
            return []
        return [event["id"] for event in events(answer.text)[:-1]]

    assert await ids("") == ["1-a1", "2-a1", "3-a1"]
    assert await ids("2-a1") == await ids("2") == ["3-a1"]
    assert await ids("2-a1", "b2") == []


@pytest.mark.parametrize(
    "last_id",
    [
        "1-",
        "1-a-b",
        "-a",
        "1-" + "a" * 65,
        "",
        "x",
        "-1",
        "1.5",
        "+1",
        "0x1",
        "٣",
        "9" * 30,
        str(2**63 - 1),
        "1, 2",
    ],
)
async def test_an_id_that_is_none_is_400(last_id: str, client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/count?to=5", headers={b"last-event-id": last_id.encode()})

    assert answer.status_code == 400
    violations = answer.json()["error"]["details"]["violations"]
    assert violations[0]["field"] == "Last-Event-ID"


async def test_streams_that_cannot_go_on_take_no_notice_of_an_id(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/echo", headers={"last-event-id": "x"})

    assert answer.status_code == 201


async def test_a_stream_ends_with_its_token(gateway: Gateway, online: httpx.AsyncClient) -> None:
    # The longer one for a machine that stands still between making it and asking with it.
    for lasting_s in (2, 12):
        token = gateway.service.authority.headers(exp=int(time.time()) + lasting_s)
        async with online.stream("GET", "/v1/count?follow=true", headers=_EVENTS | token) as answer:
            text = "\n".join([line async for line in answer.aiter_lines()])
        if answer.is_success:
            break
    response = events(text)

    assert response[-1]["event"] == "error"
    body = json.loads(response[-1]["data"])["error"]
    assert (body["code"], body["details"]["reason"]) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")
    await gateway.service.cancelled.wait()


async def test_a_stream_ends_with_its_session(gateway: Gateway, online: httpx.AsyncClient) -> None:
    token = gateway.service.authority.headers(sid="short")
    async with online.stream("GET", "/v1/count?follow=true", headers=_EVENTS | token) as answer:
        arriving = answer.aiter_lines()
        await anext(arriving)
        gateway.accounts.revoked.add("short")
        response = events("\n".join([line async for line in arriving]))

    assert json.loads(response[-1]["data"])["error"]["message"] == "the session has ended"


async def test_a_caller_has_so_many_streams_and_its_tenant_more(service: SampleService) -> None:
    environ = {"GATEWAY_USER_STREAM_COUNT_MAX": "1", "GATEWAY_TENANT_STREAM_COUNT_MAX": "2"}
    users = [f"user:00000000-0000-4000-8000-00000000000{n}" for n in range(3)]
    first, second, third = [service.authority.headers("acme", sub=user) for user in users]
    other = service.authority.headers("other", sub=users[2])
    query = "/v1/count?to=1&hang=true"
    async with gateway_before(service, environ) as gateway, gateway.listening() as client:
        async with client.stream("GET", query, headers=first) as one:
            lines_of_one = one.aiter_lines()
            await anext(lines_of_one)
            again = await client.get(query, headers=first)
            async with client.stream("GET", query, headers=second) as two:
                lines_of_two = two.aiter_lines()
                await anext(lines_of_two)
                crowded = await client.get("/v1/count?to=1", headers=third)
                elsewhere = await client.get("/v1/count?to=1", headers=other)
        await until(lambda: gateway.application.metrics.in_flight_count == 0)
        later = await client.get("/v1/count?to=1", headers=first)

    assert [one.status_code for one in (again, crowded, elsewhere, later)] == [429, 429, 200, 200]
    assert again.json()["error"]["details"]["reason"] == "TOO_MANY_STREAMS"
    assert "retry-after" in again.headers


async def test_equal_messages_are_made_into_text_once(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    encode = stream_encodings._SseEncoding._text

    def noted(*arguments: Any) -> bytes:
        made.append(arguments)
        return encode(*arguments)

    monkeypatch.setattr(stream_encodings._SseEncoding, "_text", noted)

    answers = [await gateway.client.get("/v1/count?to=3", headers=_EVENTS) for _ in range(5)]

    assert len({answer.text for answer in answers}) == 1
    assert len(made) == 1


async def test_what_is_remembered_of_messages_is_bounded(client: httpx.AsyncClient) -> None:
    for length in range(200):
        answer = await client.get(f"/v1/count?to=2&batchSize=1&textLength={length}")

        texts = [line["text"] for line in lines(answer)]
        assert texts == ["x" * length] * 2


async def test_descriptors_are_released_when_clients_leave(
    gateway: Gateway, online: httpx.AsyncClient
) -> None:
    limits = httpx.Limits(max_connections=None)
    headers = dict(online.headers) | _EVENTS
    many = httpx.AsyncClient(base_url=online.base_url, limits=limits, timeout=20, headers=headers)
    await online.get("/v1/count?to=1")  # the gateway's own connections stay
    before = _open_file_count()
    async with many, contextlib.AsyncExitStack() as stack:
        for _ in range(50):
            await stack.enter_async_context(many.stream("GET", "/v1/count?follow=true"))
        assert _open_file_count() >= before + 50

    await until(lambda: _open_file_count() <= before)
    await until(lambda: gateway.application.metrics.in_flight_count == 0)


def _open_file_count() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_more_streams_than_allowed_are_503(service: SampleService) -> None:
    environ = {"GATEWAY_STREAM_COUNT_MAX": "1"}
    async with gateway_before(service, environ) as gateway, gateway.listening() as client:
        async with client.stream("GET", "/v1/count?to=1&hang=true") as answer:
            await anext(answer.aiter_lines())
            refused = await client.get("/v1/count?to=1")
            served = await client.post("/v1/echo", json={})
        await gateway.service.cancelled.wait()

        assert refused.status_code == 503
        assert served.status_code == 201
        assert (await client.get("/v1/count?to=1")).status_code == 200


async def test_streams_have_a_connection_of_their_own(
    client: httpx.AsyncClient, service: SampleService
) -> None:
    await client.post("/v1/echo", json={})
    await client.get("/v1/count?to=1")
    await client.post("/v1/echo", json={})

    call, stream, other_call = service.peers
    assert call == other_call
    assert call != stream


async def test_calls_are_answered_however_many_streams_are_open(
    gateway: Gateway, online: httpx.AsyncClient
) -> None:
    limits = httpx.Limits(max_connections=None)
    streaming = httpx.AsyncClient(base_url=online.base_url, limits=limits, timeout=20)
    async with streaming, contextlib.AsyncExitStack() as stack:
        for _ in range(100):
            stream = streaming.stream("GET", "/v1/count?to=1&hang=true")
            await stack.enter_async_context(stream)
        statuses = [(await online.post("/v1/echo", json={})).status_code for _ in range(100)]

    assert statuses == [201] * 100


async def test_head_of_a_stream_is_its_headers_alone(online: httpx.AsyncClient) -> None:
    answer = await online.head("/v1/count?to=3")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.content == b""


async def test_a_client_that_never_reads_is_cut_off(service: SampleService) -> None:
    environ = {"GATEWAY_STREAM_WRITE_TIMEOUT_S": "0.3"}
    query = "/v1/count?to=100000&batchSize=1&textLength=50000&hang=true"
    async with gateway_before(service, environ) as gateway, gateway.listening() as client:
        with unread(client, query):
            await until(lambda: gateway.application.metrics.in_flight_count == 0 and service.calls)

            # Far from all: what nobody reads is not collected anywhere.
            assert 0 < service.yielded < 2_000


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
async def test_a_client_that_reads_byte_by_byte_is_cut_off(
    accept: str, service: SampleService
) -> None:
    async def read_slowly(client: socket.socket) -> None:
        client.setblocking(False)
        while await asyncio.get_running_loop().sock_recv(client, 1):  # noqa: ASYNC110 - it is slow
            await asyncio.sleep(0.02)

    environ = {"GATEWAY_STREAM_WRITE_TIMEOUT_S": "0.3"}
    query = "/v1/count?to=100000&batchSize=1&textLength=50000&hang=true"
    async with gateway_before(service, environ) as gateway, gateway.listening() as client:
        with unread(client, query, accept) as reader:
            reading = asyncio.create_task(read_slowly(reader))
            await until(lambda: gateway.application.metrics.in_flight_count == 0 and service.calls)
            reading.cancel()

            assert 0 < service.yielded < 2_000


@contextlib.contextmanager
def unread(asker: httpx.AsyncClient, query: str, accept: str = "*/*") -> Any:
    """Ask for an answer and never read it."""
    url, token = asker.base_url, asker.headers["authorization"]
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((url.host, url.port or 80))
        head = (
            f"GET {query} HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\naccept: {accept}\r\n\r\n"
        )
        client.sendall(head.encode())
        yield client
