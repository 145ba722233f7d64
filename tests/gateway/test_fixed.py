"""What never changes is compressed for those who take it, and not sent twice."""

import gzip

import httpx
import pytest

pytestmark = pytest.mark.documented


async def test_the_document_is_compressed_for_those_who_take_it(client: httpx.AsyncClient) -> None:
    plain = await client.get("/openapi.json", headers={"accept-encoding": "identity"})
    request = client.build_request("GET", "/openapi.json", headers={"accept-encoding": "gzip"})
    answer = await client.send(request, stream=True)
    compressed = b"".join([chunk async for chunk in answer.aiter_raw()])

    assert answer.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == answer.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(compressed) == plain.content
    assert int(answer.headers["content-length"]) == len(compressed) < len(plain.content) / 4


@pytest.mark.parametrize(
    ("accept_encoding", "is_compressed"),
    [
        ("gzip, deflate, br, zstd", True), ("GZIP", True), ("br;q=1.0, gzip;q=0.5", True),
        ("*", True), ("br, *;q=0.1", True), ("gzip;q=0, *", False), ("gzip; q=0.000", False),
        ("", False), ("br", False), ("x-gzip", False), ("*;q=0", False), (";;,,", False),
    ],
)  # fmt: skip
async def test_it_is_compressed_only_for_those_who_say_so(
    accept_encoding: str, is_compressed: bool, client: httpx.AsyncClient
) -> None:
    answer = await client.get("/docs", headers={"accept-encoding": accept_encoding})

    assert answer.status_code == 200
    assert ("content-encoding" in answer.headers) == is_compressed


@pytest.mark.parametrize("prefix", ["", "W/", '"other", '])
async def test_who_has_it_already_is_not_sent_it_again(
    prefix: str, online: httpx.AsyncClient
) -> None:
    first = await online.get("/openapi.json", headers={"accept-encoding": "gzip"})
    tag = prefix + first.headers["etag"]

    for encoding in ("gzip", "identity"):
        headers = {"accept-encoding": encoding, "if-none-match": tag}
        again = await online.get("/openapi.json", headers=headers)
        assert (again.status_code, again.content) == (304, b"")
        assert "content-security-policy" in again.headers
    other = await online.get("/openapi.json", headers={"if-none-match": '"other"'})
    assert other.status_code == 200


async def test_its_two_forms_have_tags_of_their_own(client: httpx.AsyncClient) -> None:
    tags = [
        (await client.get("/docs", headers={"accept-encoding": encoding})).headers["etag"]
        for encoding in ("gzip", "identity", "gzip")
    ]

    assert tags[0] == tags[2] != tags[1]
