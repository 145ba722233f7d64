"""Fields through the gateway: bytes of any length, up and down."""

import base64
import hashlib
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.asking import patient_client
from tests.processes import System
from tests.security.conftest import settled

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SHAPE = (300, 200, 30)
"""Some 14 MiB of doubles: more than one message, and more than a body of JSON may have."""


@pytest.fixture(scope="module")
def client(system: System) -> Iterator[httpx.Client]:
    with patient_client(system.url) as client:
        tenant = settled(client, "fields", "fields")
        client.headers["authorization"] = f"Bearer {tenant.access_token}"
        yield client


@pytest.fixture
def lattice(client: httpx.Client) -> str:
    lattice_id = client.post("/v1/lattices", json={"shape": SHAPE}).json()["latticeId"]
    return f"/v1/lattices/{lattice_id}/fields"


def numbers() -> np.ndarray:
    return np.random.default_rng(3).normal(size=SHAPE)


def digest_of(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def parts(data: bytes) -> Iterator[bytes]:
    """Without a length: the request is chunked."""
    for at in range(0, len(data), 100_000):
        yield data[at : at + 100_000]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_raw_bytes_go_up_and_come_down(
    client: httpx.Client, lattice: str, is_chunked: bool
) -> None:
    data = numbers().tobytes()
    headers = {"content-digest": digest_of(data), "content-type": "application/octet-stream"}

    answer = client.put(
        f"{lattice}/a/values",
        params={"numberType": "NUMBER_TYPE_FLOAT64"},
        content=parts(data) if is_chunked else data,
        headers=headers,
    )
    down = client.get(f"{lattice}/a/values")

    assert answer.status_code == 200, answer.text
    assert answer.json()["field"]["sizeBytes"] == str(len(data))
    assert down.headers["content-type"] == "application/octet-stream"
    assert down.content == data


def test_a_npy_file_goes_up_and_a_region_of_it_comes_down(
    client: httpx.Client, lattice: str
) -> None:
    file, array = io.BytesIO(), numbers()
    np.save(file, array)

    answer = client.put(
        f"{lattice}/b/values",
        content=file.getvalue(),
        headers={"content-type": "application/x-npy"},
    )
    region = {"origin": [1, 2, 3], "shape": [5, 6, 7], "steps": [50, 10, 2]}
    down = client.get(f"{lattice}/b/values", params={"format": "ARRAY_FORMAT_NPY", **region})

    assert answer.status_code == 200, answer.text
    assert down.headers["content-type"] == "application/x-npy"
    expected = array[1:300:50, 2:200:10, 3:30:2][:5, :6, :7]
    assert np.array_equal(np.load(io.BytesIO(down.content)), expected)


@pytest.mark.parametrize(
    ("field", "query", "headers", "cut"),
    [
        ("contentDigest", {}, {"content-digest": digest_of(b"")}, 0),
        ("contentDigest", {}, {"content-digest": "sha-256=x"}, 0),
        ("body", {}, {}, 1),
        ("body.contentType", {}, {"content-type": "application/json"}, 0),
        ("origin", {"origin": [1]}, {}, 0),
    ],
)
def test_what_does_not_fit_is_refused_by_its_field(
    client: httpx.Client,
    lattice: str,
    field: str,
    query: dict[str, Any],
    headers: dict[str, str],
    cut: int,
) -> None:
    data = numbers().tobytes()
    query = {"numberType": "NUMBER_TYPE_FLOAT64", **query}

    answer = client.put(
        f"{lattice}/c/values", params=query, content=data[: len(data) - cut], headers=headers
    )

    assert answer.status_code == 400, answer.text
    details = answer.json()["error"]["details"]
    assert [each["field"] for each in details["violations"]] == [field]
    assert client.get(lattice).json() == {"fields": []}


def test_an_upload_goes_on_with_another_request(client: httpx.Client, lattice: str) -> None:
    data = numbers().tobytes()
    asked = {"numberType": "NUMBER_TYPE_FLOAT64", "contentDigest": digest_of(data)}
    upload = client.post(f"{lattice}/d/uploads", json=asked).json()
    where = f"{lattice}/d/uploads/{upload['uploadId']}"

    first = client.put(
        f"{lattice}/d/values", params={"uploadId": upload["uploadId"]}, content=data[:9_000_000]
    )
    at = int(client.get(where).json()["offset"])
    second = client.put(
        f"{lattice}/d/values",
        params={"uploadId": upload["uploadId"], "offset": at},
        content=data[at:],
    )

    assert first.json()["upload"]["offset"] == str(at)
    assert 0 < at < 9_000_000
    assert second.json()["field"]["sizeBytes"] == str(len(data))
    assert client.get(f"{lattice}/d/values").content == data
    assert client.get(where).json()["error"]["details"]["reason"] == "UPLOAD_NOT_FOUND"
