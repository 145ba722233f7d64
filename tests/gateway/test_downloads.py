"""Answers that are bytes of any type, streamed or at once."""

import httpx
import pytest

from tests.gateway.sample import Gateway, SampleService, gateway_before, until
from tests.gateway.test_streams import unread


async def test_a_download_is_its_bytes_with_their_type(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/download?chunkCount=3&chunkBytes=5&contentType=image/png")

    assert answer.status_code == 200
    assert answer.content == b"x" * 15
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_picture_is_its_bytes_with_their_type(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/picture?chunkBytes=5&contentType=image/png")

    assert (answer.content, answer.headers["content-type"]) == (b"xxxxx", "image/png")
    assert answer.headers["content-length"] == "5"


@pytest.mark.parametrize(
    "content_type", ["", "nonsense", "a/b\r\nset-cookie: x=1", "text/html; ä=ö"]
)
async def test_a_type_that_is_none_is_not_passed_on(
    content_type: str, client: httpx.AsyncClient
) -> None:
    query = {"chunkCount": "1", "chunkBytes": "1", "contentType": content_type}

    for path in ("/v1/download", "/v1/picture"):
        answer = await client.get(path, params=query)

        assert answer.headers["content-type"] == "application/octet-stream"
        assert "set-cookie" not in answer.headers


async def test_an_empty_download_is_empty(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/download")

    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_download_that_fails_at_once_has_a_status_of_its_own(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/v1/download?chunkCount=3&chunkBytes=5&failAfter=0")

    assert answer.status_code == 409
    assert answer.json()["error"]["details"]["reason"] == "THING_CHANGED"


async def test_a_download_that_fails_later_is_cut_off(online: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await online.get("/v1/download?chunkCount=3&chunkBytes=5&failAfter=2")


async def test_head_of_a_download_is_its_headers_alone(online: httpx.AsyncClient) -> None:
    answer = await online.head("/v1/download?chunkCount=3&chunkBytes=5&contentType=image/png")

    assert answer.headers["content-type"] == "image/png"
    assert answer.content == b""


async def test_a_large_download_is_complete(online: httpx.AsyncClient) -> None:
    query = "/v1/download?chunkCount=200&chunkBytes=1000000"

    size = 0
    async with online.stream("GET", query) as answer:
        async for chunk in answer.aiter_raw():
            size += len(chunk)

    assert size == 200_000_000


async def test_a_download_that_nobody_reads_is_not_collected(service: SampleService) -> None:
    environ = {"GATEWAY_STREAM_WRITE_TIMEOUT_S": "0.3"}
    query = "/v1/download?chunkCount=1000&chunkBytes=1000000"
    async with gateway_before(service, environ) as gateway, gateway.listening() as client:
        with unread(client, query):
            await until(
                lambda: service.yielded and gateway.application.metrics.in_flight_count == 0
            )

    assert service.yielded < 50


async def test_a_client_that_leaves_ends_its_download(
    gateway: Gateway, online: httpx.AsyncClient
) -> None:
    query = "/v1/download?chunkCount=1000&chunkBytes=1000000"
    async with online.stream("GET", query) as answer:
        await anext(answer.aiter_raw())

    await until(lambda: gateway.application.metrics.in_flight_count == 0)
    assert gateway.service.yielded < 1000
