"""Sites that are blocked where a field is not zero."""

import asyncio
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from girih.ids import TenantId
from girih.lattice.v1 import fields_pb2, lattice_pb2
from girih.lattice.v1 import transforms_pb2 as pb
from services.lattice.domain import LatticeId
from services.lattice.transforms.blocked.changing import (
    BlockedState,
    BlockedTransformer,
    Made,
    Make,
)
from tests.lattice.history.test_service import LARGE, SMALL, History
from tests.lattice.serving import Client, refusal


@pytest.fixture
def history(client: Client) -> History:
    return History(client)


async def block(
    history: History, lattice_id: str, name: str = "a", **fields: Any
) -> pb.BlockByFieldResponse:
    request = pb.BlockByFieldRequest(lattice_id=lattice_id, name=name, **fields)
    answer: pb.BlockByFieldResponse = await history.stub.BlockByField(
        request, metadata=history.metadata
    )
    return answer


async def blocked(history: History, lattice_id: str, shape: tuple[int, ...]) -> np.ndarray:
    request = lattice_pb2.ReadBlockedRequest(lattice_id=lattice_id)
    reading = history.client.lattices.ReadBlocked(request, metadata=history.metadata)
    sites = int(np.prod(shape))
    bits = b"".join([part.data async for part in reading]) or bytes(-(-sites // 8))
    return np.unpackbits(
        np.frombuffer(bits, np.uint8), count=sites, bitorder="little"
    ).reshape(shape)  # fmt: skip


def numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    array = np.random.default_rng(3).integers(0, 3, shape).astype(dtype)
    if array.dtype.kind == "f":
        array.reshape(-1)[:3] = np.nan, -0.0, 1e-300 if dtype == "float64" else 1e-40
    return array


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("shape", [SMALL, LARGE], ids=str)
async def test_sites_are_blocked_where_a_field_is_not_zero(
    history: History, shape: tuple[int, ...], dtype: str
) -> None:
    array = numbers(shape, dtype)
    lattice_id = await history.lattice(array)

    answer = await block(history, lattice_id, expected_revision=0)

    np.testing.assert_array_equal(await blocked(history, lattice_id, shape), array != 0)
    assert answer.state.vertices == (array == 0).sum()
    assert (await history.client.get(lattice_id)).edges == answer.state.edges
    undo = {"lattice_id": lattice_id, "expected_revision": answer.state.revision}
    undone = await history.ask("UndoBlocked", **undo)
    assert undone.state.digest == answer.before_digest
    assert not (await blocked(history, lattice_id, shape)).any()
    assert (await history.verified(lattice_id))[-1].sums.verified


async def test_a_field_of_zeros_frees_all_sites(history: History) -> None:
    lattice_id = await history.lattice(np.zeros(SMALL, np.uint8), blocked=b"\xff\x01" + bytes(4))

    answer = await block(history, lattice_id)

    assert answer.state.vertices == np.prod(SMALL)
    assert not (await blocked(history, lattice_id, SMALL)).any()


async def test_a_request_that_is_repeated_answers_the_same_whatever_the_field_holds(
    history: History,
) -> None:
    lattice_id = await history.lattice(numbers(SMALL, "uint8"))
    await history.fields.write(lattice_id, "b", np.ones(SMALL, np.uint8))
    request_id = str(uuid4())
    first = await block(history, lattice_id, request_id=request_id)
    await history.fields.write(lattice_id, "a", np.ones(SMALL, np.uint8))

    assert await block(history, lattice_id, request_id=request_id) == first
    other = await refusal(block(history, lattice_id, "b", request_id=request_id))
    assert other.reason == "REQUEST_ID_REUSED"


async def test_what_is_blocked_is_what_the_field_was_before_it(history: History) -> None:
    shape = SMALL
    lattice_id = await history.lattice(np.zeros(shape, np.uint8))
    written: dict[int, np.ndarray] = {}
    blocks: list[pb.BlockByFieldResponse] = []

    async def write(seed: int) -> None:
        array = np.random.default_rng(seed).integers(0, 2, shape).astype(np.uint8)
        written[(await history.fields.write(lattice_id, "a", array)).revision] = array

    async def block_once() -> None:
        blocks.append(await block(history, lattice_id))

    for seed in range(8):
        await asyncio.gather(write(2 * seed), block_once(), write(2 * seed + 1), block_once())

    for answer in blocks:
        before = max((r for r in written if r < answer.state.revision), default=None)
        free = np.prod(shape) if before is None else (written[before] == 0).sum()
        assert answer.state.vertices == free


async def test_a_field_that_was_something_else_meanwhile_blocks_by_what_it_is(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = numbers(SMALL, "uint8")
    lattice_id = await history.lattice(array)
    change, record = BlockedTransformer.change, BlockedTransformer._record
    others = [1 - np.minimum(array, 1), array]

    async def overtaken(
        transformer: BlockedTransformer,
        tenant: TenantId,
        lattice_id: LatticeId,
        make: Make,
        *rest: Any,
    ) -> BlockedState | int:
        async def made(*known: Any) -> Made:
            if len(others) == 2:
                await history.fields.write(lattice_id, "a", others.pop(0))
            return await make(*known)

        return await change(transformer, tenant, lattice_id, made, *rest)

    async def overtaken_again(transformer: BlockedTransformer, *parts: Any) -> BlockedState:
        if others:
            await history.fields.write(lattice_id, "a", others.pop())
        return await record(transformer, *parts)

    monkeypatch.setattr(BlockedTransformer, "change", overtaken)
    monkeypatch.setattr(BlockedTransformer, "_record", overtaken_again)
    await block(history, lattice_id)

    np.testing.assert_array_equal(await blocked(history, lattice_id, SMALL), array != 0)


async def test_what_cannot_be_blocked_by_is_refused_and_changes_nothing(history: History) -> None:
    lattice_id = await history.lattice(numbers(SMALL, "uint8"))
    moore = await history.client.create(
        shape=(2**13, 2**13), neighbourhood=lattice_pb2.NEIGHBOURHOOD_MOORE
    )
    request = fields_pb2.CreateFieldRequest(
        lattice_id=moore.lattice_id, name="a", number_type=lattice_pb2.NUMBER_TYPE_UINT8
    )
    await history.fields.stub.CreateField(request, metadata=history.metadata)

    missing = await refusal(block(history, lattice_id, "no"))
    late = await refusal(block(history, lattice_id, expected_revision=3))
    too_large = await refusal(block(history, moore.lattice_id))

    assert (missing.reason, late.reason) == ("FIELD_NOT_FOUND", "LATTICE_CHANGED")
    assert too_large.reason == "TRANSFORM_UNFIT"
    assert not (await blocked(history, lattice_id, SMALL)).any()
