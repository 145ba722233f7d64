"""Bodies that are made into messages by a process beside the gateway."""

import asyncio
import os
import signal

import httpx
import pytest

from gateway.app import read_contract
from gateway.contract.rules import Rule, rules_of
from gateway.endpoints.large_bodies import LargeBodies
from gateway.http.errors import HttpError
from gateway.transcoding.codec import Decoder
from gateway.transcoding.requests import RequestBuilder
from gateway.transcoding.validation import ValidationError
from girih.events.v1 import events_pb2
from services.plumbing.beside.process import ProcessBeside
from tests.gateway.sample import Gateway, SampleService, gateway_before
from tests.plumbing.beside.children import children_that_run

_SIZE = 2**18


def processes_beside() -> list[int]:
    """The processes that make messages, by their ids."""
    return children_that_run("gateway.transcoding.beside")


async def test_a_large_body_is_what_it_says(
    client: httpx.AsyncClient, service: SampleService
) -> None:
    text = "x" * _SIZE

    answer = await client.post("/v1/echo", json={"text": text})

    assert answer.status_code == 201
    assert service.texts == [text]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"text": 5, "no": "%s"}' % ("x" * _SIZE), "text"),
        ('{"text": "%s"' % ("x" * _SIZE), ""),
        ("[" * _SIZE, "[0]"),
    ],
    ids=["a wrong type", "no JSON", "too deep"],
)
async def test_what_is_wrong_with_a_large_body_is_told_as_of_a_small_one(
    body: str, field: str, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/v1/echo", content=body)

    assert answer.status_code == 400
    violations = answer.json()["error"]["details"]["violations"]
    assert violations[0]["field"] == field


async def test_a_large_line_is_taken_too(client: httpx.AsyncClient, service: SampleService) -> None:
    line = '{"number": 7}%s\n' % (" " * _SIZE)

    answer = await client.post(
        "/v1/sum", content=line, headers={"content-type": "application/x-ndjson"}
    )

    assert answer.status_code == 200
    assert service.sums == [7]


async def test_small_bodies_need_no_process(gateway: Gateway) -> None:
    await gateway.client.post("/v1/echo", json={"text": "x" * 2**16})

    assert processes_beside() == []


async def test_a_process_that_stands_still_is_not_waited_for_beyond_the_callers_time(
    gateway: Gateway,
) -> None:
    large = {"text": "x" * _SIZE}
    assert (await gateway.client.post("/v1/echo", json=large)).status_code == 201
    (beside,) = processes_beside()
    os.kill(beside, signal.SIGSTOP)

    try:
        answer = await gateway.client.post(
            "/v1/echo", json=large, headers={"X-Request-Timeout": "0.5"}
        )
    finally:
        os.kill(beside, signal.SIGCONT)

    # Nothing was done, so that to try again is safe.
    assert answer.status_code == 503
    assert answer.json()["error"]["details"]["reason"] == "GATEWAY_BUSY"
    assert answer.headers["retry-after"]


async def test_the_next_body_gets_another_process_when_one_has_died(gateway: Gateway) -> None:
    large = {"text": "x" * _SIZE}
    assert (await gateway.client.post("/v1/echo", json=large)).status_code == 201
    (first,) = processes_beside()
    os.kill(first, signal.SIGKILL)

    async with asyncio.timeout(30):
        statuses = [(await gateway.client.post("/v1/echo", json=large)).status_code]
        while statuses[-1] != 201:
            statuses.append((await gateway.client.post("/v1/echo", json=large)).status_code)

    assert set(statuses) <= {503, 201}
    assert processes_beside() != [first]


async def test_nothing_stays_behind_when_the_gateway_has_stopped(service: SampleService) -> None:
    async with gateway_before(service) as gateway:
        await gateway.client.post("/v1/echo", json={"text": "x" * _SIZE})
        assert processes_beside()

    assert processes_beside() == []


async def test_a_body_that_is_given_up_keeps_its_turn_until_it_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large_bodies = LargeBodies(read_contract(), wait_s=0.05)
    asked: list[asyncio.Future[bytes]] = []

    async def ask(_process: ProcessBeside, *_parts: object) -> bytes:
        asked.append(asyncio.get_running_loop().create_future())
        return await asked[-1]

    monkeypatch.setattr(ProcessBeside, "ask", ask)
    for _ in range(3):
        with pytest.raises(HttpError, match="as many requests"):
            await large_bodies.message("a", append_rule(), (), b"", b"{}")
    count_while_the_first_is_under_way = len(asked)
    asked[0].set_result(b"of the first")
    with pytest.raises(HttpError):
        await large_bodies.message("b", append_rule(), (), b"", b"{}")

    assert count_while_the_first_is_under_way == 1
    assert len(asked) == 2


async def test_a_large_body_becomes_bytes_that_nobody_needs_to_parse() -> None:
    large_bodies = LargeBodies(read_contract(), wait_s=60)
    body = b'{"events": [{"stream": "a", "type": "b", "json": 1}]}'

    made = await large_bodies.message("a", append_rule(), (), b"", body)
    await large_bodies.close()

    assert isinstance(made, bytes)
    assert events_pb2.AppendRequest.FromString(made).events[0].stream == "a"


def append_rule() -> Rule:
    (append,) = [
        rule
        for rule in rules_of(read_contract())
        if rule.template.text == "/v1/events:append" and rule.http_method == "POST"
    ]
    return append


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (b'{"events": [%b0]}' % (b"5," * 5_000), "events", "must have 1 to 5,000 items"),
        (
            b'{"events": [{"metadata": {%b"": ""}}]}'
            % b"".join(b'"%d": "",' % number for number in range(32)),
            "events[0].metadata",
            "must have at most 32 keys",
        ),
    ],
    ids=["a list", "a map"],
)
def test_what_has_too_many_items_is_refused_before_it_is_made(
    body: bytes, field: str, words: str
) -> None:
    builder = RequestBuilder(append_rule(), Decoder())

    with pytest.raises(ValidationError) as refusal:
        builder.build((), b"", body)

    assert refusal.value.violations == [(field, words)]
