"""Sites that a caller blocks and frees in place, and which were blocked before."""

import io
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from girih.lattice.v1 import chains_pb2 as chains
from girih.lattice.v1 import lattice_pb2
from girih.lattice.v1 import transforms_pb2 as pb
from services.lattice.domain import BitOrder, LatticeSpec
from services.lattice.geometry import Geometry
from services.lattice.transforms.blocked.changing import BlockedState, BlockedTransformer
from services.lattice.transforms.blocked.writing import patch_of
from services.plumbing.errors import InvalidInput
from tests.lattice.history.test_blocked import SHAPE, blocked_now, created, mask, transform
from tests.lattice.history.test_service import History
from tests.lattice.serving import Client, refusal


@pytest.fixture
def history(client: Client) -> History:
    return History(client)


def bits(array: Any) -> bytes:
    return np.packbits(np.asarray(array, np.uint8).reshape(-1), bitorder="little").tobytes()


def box(origin: tuple[int, int], shape: tuple[int, int]) -> lattice_pb2.Region:
    return lattice_pb2.Region(origin=lattice_pb2.Site(coordinates=origin), shape=shape)


async def write(
    history: History, lattice_id: str, region: lattice_pb2.Region, **fields: Any
) -> pb.WriteBlockedResponse:
    request = pb.WriteBlockedRequest(
        lattice_id=lattice_id, region=region, bit_order=lattice_pb2.BIT_ORDER_LITTLE, **fields
    )
    answer: pb.WriteBlockedResponse = await history.stub.WriteBlocked(
        request, metadata=history.metadata
    )
    return answer


async def blocked_at(history: History, lattice_id: str, revision: int) -> np.ndarray:
    request = lattice_pb2.ReadBlockedRequest(lattice_id=lattice_id, at_revision=revision)
    reading = history.client.lattices.ReadBlocked(request, metadata=history.metadata)
    data = b"".join([part.data async for part in reading])
    packed = np.frombuffer(data or bytes(np.prod(SHAPE) // 8), np.uint8)
    return (
        np.unpackbits(packed, count=np.prod(SHAPE), bitorder="little").reshape(SHAPE).astype(bool)
    )


async def drawn_at(history: History, lattice_id: str, revision: int) -> np.ndarray:
    data = await history.drawn(lattice_id=lattice_id, at_revision=revision, pixels_max=max(SHAPE))
    return np.asarray(Image.open(io.BytesIO(data)).convert("L")) < 128


async def test_what_is_written_is_blocked_and_the_rest_stays(history: History) -> None:
    lattice_id = await created(history, mask())
    patch, written = np.ones((4, 5)), np.zeros((4, 5))
    written[1:3, ::2] = 1
    patch[:, 2] = 0

    answer = await write(
        history, lattice_id, box((3, 7), (4, 5)), blocked=bits(patch), written=bits(written)
    )

    wanted = mask()
    inside = wanted[3:7, 7:12]
    inside[written == 1] = patch[written == 1]
    np.testing.assert_array_equal(await blocked_now(history, lattice_id), wanted)
    assert answer.state.vertices == (~wanted).sum()
    assert (await history.client.get(lattice_id)).edges == answer.state.edges


async def test_without_a_choice_all_of_the_region_is_written(history: History) -> None:
    lattice_id = await created(history, mask())

    await write(history, lattice_id, box((0, 0), (2, 30)), blocked=bits(np.zeros((2, 30))))

    wanted = mask()
    wanted[:2] = False
    np.testing.assert_array_equal(await blocked_now(history, lattice_id), wanted)


async def test_a_write_is_undone_told_and_kept(history: History) -> None:
    lattice_id = await created(history, mask())
    once = {"request_id": str(uuid4()), "blocked": bits(np.ones((1, 30)))}
    answers = [await write(history, lattice_id, box((9, 0), (1, 30)), **once) for _ in range(2)]

    undone = await history.ask("UndoBlocked", lattice_id=lattice_id)

    assert answers[0] == answers[1]
    assert undone.state.digest == answers[0].before_digest
    np.testing.assert_array_equal(await blocked_now(history, lattice_id), mask())
    past = await history.ask("GetHistory", lattice_id=lattice_id)
    assert [change.kind for change in past.changes] == [
        chains.CHANGE_KIND_CREATED, chains.CHANGE_KIND_WRITTEN, chains.CHANGE_KIND_UNDONE
    ]  # fmt: skip
    sums = (await history.verified(lattice_id))[-1].sums
    assert (sums.kept, sums.verified) == (1, True)
    other = transform(history, lattice_id, {"erode": {}}, request_id=once["request_id"])
    assert (await refusal(other)).reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    "other",
    [
        {"blocked": bits(np.zeros((1, 30)))},
        {"region": box((8, 0), (1, 30))},
        {"written": bits(np.ones((1, 30)))},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_another_write_of_the_same_request_id_is_refused(
    history: History, other: dict[str, Any]
) -> None:
    lattice_id = await created(history, mask())
    once: dict[str, Any] = {"request_id": str(uuid4()), "blocked": bits(np.ones((1, 30)))}
    once["region"] = box((9, 0), (1, 30))
    first = await write(history, lattice_id, **once)

    refused = await refusal(write(history, lattice_id, **(once | other)))

    assert refused.reason == "REQUEST_ID_REUSED"
    assert await write(history, lattice_id, **once) == first


async def test_blocked_sites_that_are_not_where_the_caller_thinks_stay(history: History) -> None:
    lattice_id = await created(history, mask())
    row: dict[str, Any] = {"region": box((0, 0), (1, 30)), "blocked": bits(np.ones((1, 30)))}
    await history.fields.write(lattice_id, "a", np.zeros(SHAPE))
    first = await write(history, lattice_id, **row, expected_revision=0)
    late = {"lattice_id": lattice_id, "expected_revision": 0}

    refused = [
        await refusal(calling)
        for calling in (
            write(history, lattice_id, **row, expected_revision=0),
            transform(history, lattice_id, {"erode": {}}, expected_revision=0),
            history.ask("UndoBlocked", **late),
            history.ask("RedoBlocked", **late),
        )
    ]

    assert {(one.reason, one.metadata["revision"]) for one in refused} == {
        ("LATTICE_CHANGED", str(first.state.revision))
    }
    now = {"lattice_id": lattice_id, "expected_revision": first.state.revision}
    undone = await history.ask("UndoBlocked", **now)
    assert undone.state.digest == first.before_digest


async def test_undoing_that_loses_a_race_undoes_what_is_last_then(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    lattice_id = await created(history, mask())
    row = box((0, 0), (1, 30))
    await write(history, lattice_id, row, blocked=bits(np.ones((1, 30))))
    record = BlockedTransformer._record
    others = [np.zeros((1, 30)), np.ones((1, 30))]

    async def overtaken(transformer: BlockedTransformer, *parts: Any) -> BlockedState:
        first, others[:] = others[:], []
        for other in first:
            await write(history, lattice_id, row, blocked=bits(other))
        return await record(transformer, *parts)

    monkeypatch.setattr(BlockedTransformer, "_record", overtaken)
    undone = await history.ask("UndoBlocked", lattice_id=lattice_id)

    assert undone.of_revision == 3
    wanted = mask()
    wanted[0] = False
    np.testing.assert_array_equal(await blocked_now(history, lattice_id), wanted)


async def test_blocked_sites_are_read_and_drawn_as_they_were(history: History) -> None:
    lattice_id = await created(history, mask())
    await write(history, lattice_id, box((0, 0), SHAPE), blocked=bits(~mask()))
    await write(history, lattice_id, box((0, 0), SHAPE), blocked=bits(np.zeros(SHAPE)))

    for revision, wanted in enumerate((mask(), ~mask(), np.zeros(SHAPE, bool))):
        np.testing.assert_array_equal(await blocked_at(history, lattice_id, revision), wanted)
        np.testing.assert_array_equal(await drawn_at(history, lattice_id, revision), wanted)
    refused = await refusal(blocked_at(history, lattice_id, 3))
    assert (refused.reason, "at_revision" in str(refused.violations)) == ("INVALID_INPUT", True)


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("region.origin.coordinates[1]", {"region": ((0, 30), (1, 1))}),
        ("region.shape[0]", {"region": ((0, 0), (21, 1))}),
        ("blocked", {"blocked": bytes(2)}),
        ("blocked", {"blocked": b"\xff"}),
        ("written", {"written": bytes(2)}),
        ("bit_order", {"bit_order": None}),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_by_name(field: str, changed: dict[str, Any]) -> None:
    geometry = Geometry(shape=SHAPE, periodic=(False, False), moore=False, no_cutting=False)
    spec = LatticeSpec(geometry=geometry)
    fields: dict[str, Any] = {
        "region": ((0, 0), (1, 4)), "blocked": b"\xf0", "written": b"", "bit_order": BitOrder.BIG
    }  # fmt: skip

    patch_of(spec, **fields)
    with pytest.raises(InvalidInput) as refused:
        patch_of(spec, **(fields | changed))

    assert [one.field for one in refused.value.violations] == [field]
