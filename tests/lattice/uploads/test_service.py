"""Lattices whose blocked sites come as a stream: many more than a message holds."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.api.httpbody_pb2 import HttpBody

from girih.lattice.v1 import lattice_pb2, uploads_pb2
from girih.lattice.v1.uploads_pb2_grpc import LatticeUploadServiceStub
from tests.authority import Authority
from tests.lattice.fields.caller import npy, pieces
from tests.lattice.serving import Client, refusal, replica, until
from tests.processes import Process

NPY = "application/x-npy"
LITTLE = lattice_pb2.BIT_ORDER_LITTLE
LARGE = (330, 330, 320)
"""More sites than a message has bits for."""


@pytest.fixture
def storage(authority: Authority) -> Path:
    return Path(authority.environ["LATTICE_STORAGE"])


async def upload(
    client: Client, data: bytes, content_type: str = "", **fields: Any
) -> lattice_pb2.Lattice:
    async def requests() -> AsyncIterator[uploads_pb2.UploadLatticeRequest]:
        head = fields
        for piece in pieces(data):
            body = HttpBody(content_type=content_type, data=piece)
            yield uploads_pb2.UploadLatticeRequest(body=body, **head)
            head = {}

    stub = LatticeUploadServiceStub(client.channel)
    answer = await stub.UploadLattice(requests(), metadata=client.metadata)
    lattice: lattice_pb2.Lattice = answer.lattice
    return lattice


def sites(shape: tuple[int, ...], seed: int = 3) -> np.ndarray:
    """About a tenth of them blocked, and none of a corner."""
    blocked = np.random.default_rng(seed).random(shape) < 0.1
    blocked[(slice(0, 2),) * len(shape)] = False
    return blocked


def bits(blocked: np.ndarray) -> bytes:
    return np.packbits(blocked, bitorder="little").tobytes()


@pytest.mark.parametrize("kind", ["bits", "booleans", "numbers"])
async def test_a_lattice_has_the_blocked_sites_that_came(client: Client, kind: str) -> None:
    blocked = sites((30, 41))
    made = await client.create(shape=blocked.shape, blocked=bits(blocked))

    if kind == "bits":
        lattice = await upload(client, bits(blocked), shape=blocked.shape, bit_order=LITTLE)
    else:
        array = blocked if kind == "booleans" else blocked.astype(np.uint8)
        lattice = await upload(client, npy(array), NPY)

    assert (lattice.vertices, lattice.edges) == (made.vertices, made.edges)
    read = b"".join([part.data for part in await client.blocked(lattice.lattice_id)])
    assert read == bits(blocked)


async def test_one_too_large_for_a_message_is_kept_and_paths_are_found_on_it(
    client: Client,
    event_store: tuple[Process, str],
    authority: Authority,
    tenant: str,
    storage: Path,
) -> None:
    blocked = np.zeros(LARGE, bool)
    blocked[1, :, :] = True
    blocked[1, 300, 310] = False

    lattice = await upload(client, npy(blocked), NPY)
    async with replica(event_store[1], authority, tenant) as other:
        await until(other.is_serving)
        path = await other.find_path(lattice.lattice_id, [0, 0, 0], [2, 0, 0], sites_max=0)
    (folder,) = (storage / tenant / lattice.lattice_id).iterdir()
    (folder / "c.0").unlink()
    async with replica(event_store[1], authority, tenant) as third:
        await until(third.is_serving)
        error = await refusal(third.get(lattice.lattice_id))

    assert lattice.vertices == blocked.size - blocked.sum()
    assert path.path.length == 2 + 2 * (300 + 310)
    assert (error.reason, error.metadata["chunk"]) == ("CHUNK_DAMAGED", "c.0")


BAD: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "a byte too few": ("body", bytes(3), {"shape": [4, 8], "bit_order": LITTLE}),
    "a byte too many": ("body", bytes(5), {"shape": [4, 8], "bit_order": LITTLE}),
    "a bit beyond the last site": ("blocked", b"\xff", {"shape": [7], "bit_order": LITTLE}),
    "no shape": ("shape", bytes(4), {"bit_order": LITTLE}),
    "no order": ("bit_order", bytes(4), {"shape": [4, 8]}),
    "another shape": (
        "shape", npy(np.zeros((2, 2), bool)), {"shape": [4], "content_type": NPY},
    ),
    "a two": ("body", npy(np.full((2, 2), 2, np.uint8)), {"content_type": NPY}),
    "doubles": ("body", npy(np.zeros((2, 2))), {"content_type": NPY}),
    "another digest": (
        "content_digest",
        bytes(4),
        {"shape": [4, 8], "bit_order": LITTLE, "content_digest": "sha-256=:AAAA:"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
async def test_what_makes_no_sense_creates_nothing(client: Client, case: str) -> None:
    field, data, options = BAD[case]

    error = await refusal(upload(client, data, **options))

    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == [field]
    assert (await client.page()).total_count == 0


async def test_an_upload_that_is_cancelled_creates_nothing_and_may_be_repeated(
    client: Client,
) -> None:
    blocked, sent = sites((300, 400)), asyncio.Event()
    of_it: dict[str, Any] = {
        "shape": blocked.shape,
        "bit_order": LITTLE,
        "request_id": str(uuid.uuid4()),
    }

    async def requests() -> AsyncIterator[uploads_pb2.UploadLatticeRequest]:
        body = HttpBody(data=bits(blocked)[:10_000])
        yield uploads_pb2.UploadLatticeRequest(body=body, **of_it)
        sent.set()
        await asyncio.Event().wait()

    stub = LatticeUploadServiceStub(client.channel)
    uploading = stub.UploadLattice(requests(), metadata=client.metadata)
    await sent.wait()
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading

    assert not (await client.page()).lattices
    whole = await upload(client, bits(blocked), **of_it)
    assert [each.lattice_id for each in (await client.page()).lattices] == [whole.lattice_id]


async def test_more_sites_than_may_be_blocked_are_refused_before_they_come(
    client: Client,
) -> None:
    promised = npy(np.zeros(1, bool)).replace(b"(1,)", b"(2147483648,)")
    moore: dict[str, Any] = {"neighbourhood": lattice_pb2.NEIGHBOURHOOD_MOORE, "bit_order": LITTLE}

    many = await refusal(upload(client, promised, NPY))
    diagonal = await refusal(upload(client, b"", shape=[2**13, 2**13], **moore))

    assert (many.reason, many.metadata["limit"]) == ("WORK_TOO_LARGE", str(2**30))
    assert (diagonal.reason, diagonal.metadata["limit"]) == ("WORK_TOO_LARGE", str(2**25))
