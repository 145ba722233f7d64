"""Pictures through the gateway: an image for browsers, of what a lattice and its fields hold."""

import io
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.asking import patient_client
from tests.processes import System
from tests.security.conftest import settled

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SHAPE = (40, 60, 50)


@pytest.fixture(scope="module")
def client(system: System) -> Iterator[httpx.Client]:
    with patient_client(system.url) as client:
        tenant = settled(client, "pictures", "pictures")
        client.headers["authorization"] = f"Bearer {tenant.access_token}"
        yield client


@pytest.fixture(scope="module")
def lattice(client: httpx.Client) -> str:
    lattice_id = client.post("/v1/lattices", json={"shape": SHAPE}).json()["latticeId"]
    file = io.BytesIO()
    np.save(file, np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE))
    written = client.put(
        f"/v1/lattices/{lattice_id}/fields/height/values",
        content=file.getvalue(),
        headers={"content-type": "application/x-npy"},
    )
    assert written.is_success, written.text
    return f"/v1/lattices/{lattice_id}"


@pytest.mark.parametrize("projection", ["SLICE", "MIN", "MAX", "MEAN", "SUM"])
def test_a_field_is_an_image(client: httpx.Client, lattice: str, projection: str) -> None:
    asked = {
        "name": "height",
        "projection": f"PROJECTION_{projection}",
        "at": {"coordinates": [20, 0, 0]},
        "pixelsMax": 600,
    }

    answer = client.post(f"{lattice}:render", json=asked)

    assert answer.headers["content-type"] == "image/png"
    image = Image.open(io.BytesIO(answer.content))
    assert image.size == (50 * 10 + 84, 60 * 10)


def test_the_largest_picture_comes_whole(client: httpx.Client) -> None:
    made = client.post("/v1/lattices", json={"shape": [4096, 4012]}).json()["latticeId"]
    noise = np.random.default_rng(1).integers(0, 255, (4096, 4012)).astype(np.uint8)
    client.put(
        f"/v1/lattices/{made}/fields/noise/values?numberType=NUMBER_TYPE_UINT8",
        content=noise.tobytes(),
    )

    answer = client.post(f"/v1/lattices/{made}:render", json={"name": "noise", "pixelsMax": 4096})

    assert Image.open(io.BytesIO(answer.content)).size == (4096, 4096)
    assert len(answer.content) > 2**23


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"low": 1, "high": 1}, "high"),
        ({"rowAxis": 3}, "rowAxis"),
        ({"pixelsMax": 4097}, "pixelsMax"),
        ({"at": {"coordinates": [0, 60, 0]}}, "at.coordinates[1]"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_its_field(
    client: httpx.Client, lattice: str, asked: dict[str, object], field: str
) -> None:
    answer = client.post(f"{lattice}:render", json=asked)

    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["error"]["details"]["violations"]] == [field]
