"""Bodies made to keep the gateway busy: refused with few words, and nobody waits for them."""

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from google.protobuf.message import Message

from gateway.transcoding import json_body
from gateway.transcoding.codec import Decoder
from gateway.transcoding.requests import RequestBuilder
from gateway.transcoding.validation import ValidationError
from girih.rules.violations import VIOLATIONS_MAX
from tests.gateway.sample import sample_contract

COUNT = 100_000
JSON = {"content-type": "application/json"}


def listed(item: str, last: str = "") -> bytes:
    items = ",".join([item] * COUNT)
    return f'{{"json": [{items}{"," if last else ""}{last}]}}'.encode()


def keys(*, repeated: bool) -> bytes:
    members = [f'"k{number}": 1' for number in range(COUNT)]
    return ("{" + ",".join([*members, '"k1": 2'] if repeated else members) + "}").encode()


BODIES: dict[str, Callable[[], bytes]] = {
    "a key that is repeated": lambda: keys(repeated=True),
    "unknown keys": lambda: keys(repeated=False),
    "what is no number, at the end": lambda: listed("0", "NaN"),
    "half a character, at the end": lambda: listed('"\\u0041"', '"\\ud800"'),
    "objects of no meaning": lambda: b'{"children": [' + b",".join([b"1"] * COUNT) + b"]}",
}


@pytest.fixture(params=BODIES)
def body(request: pytest.FixtureRequest) -> bytes:
    return BODIES[request.param]()


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads that messages are made in, one after the other."""
    used: list[int] = []
    build = RequestBuilder.build

    def recording(*arguments: Any) -> Message:
        used.append(threading.get_ident())
        return build(*arguments)

    monkeypatch.setattr(RequestBuilder, "build", recording)
    return used


async def test_a_large_body_is_refused_in_few_words_and_off_the_event_loop(
    client: httpx.AsyncClient, body: bytes, threads: list[int]
) -> None:
    answer = await client.post("/v1/echo", content=body, headers=JSON)

    assert answer.status_code == 400
    assert len(answer.content) < 64 * 2**10
    assert threading.get_ident() not in threads


async def test_a_large_line_is_read_off_the_event_loop(
    client: httpx.AsyncClient, body: bytes, threads: list[int]
) -> None:
    headers = {"content-type": "application/x-ndjson"}

    answer = await client.post("/v1/converse", content=body + b"\n", headers=headers)

    assert answer.status_code == 400
    assert threading.get_ident() not in threads


async def test_a_small_body_is_read_where_it_arrives(
    client: httpx.AsyncClient, threads: list[int]
) -> None:
    await client.post("/v1/echo", content=b"{}", headers=JSON)

    assert threads == [threading.get_ident()]


async def test_a_body_that_anybody_may_send_is_small(client: httpx.AsyncClient) -> None:
    content = b'{"texts": ["' + b"x" * (16 * 2**10) + b'"]}'

    answer = await client.post("/v1/echo/a:publish", content=content, headers=JSON)

    assert answer.status_code == 413
    assert answer.json()["error"]["details"]["bytesMax"] == 16 * 2**10


@pytest.mark.parametrize("name", ["texts", "children"])
def test_of_many_bad_items_only_the_first_are_converted(name: str) -> None:
    message = sample_contract().services[0].methods_by_name["Echo"].input_type
    decode = Decoder().message(message)

    with pytest.raises(ValidationError) as refusal:
        decode({name: [object()] * COUNT})

    assert len(refusal.value.violations) == VIOLATIONS_MAX


@pytest.mark.parametrize(
    "text",
    [r'"\ud800"', r'"\udc00"', r'"\ud800A"', r'"\\\ud800"', r'"\ud83d\ud83d\ude00"', r'"\uD800"'],
)
def test_half_a_character_is_refused(text: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        json_body.parse(text.encode())

    assert "surrogate" in refusal.value.violations[0][1]


@pytest.mark.parametrize("text", [r'"\ud83d\ude00"', r'"\\ud800"', r'"\u00e9\n\\"', r'"\u0d800"'])
def test_whole_characters_are_taken_however_they_are_spelled(text: str) -> None:
    assert json_body.parse(text.encode())
