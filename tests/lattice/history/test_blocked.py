"""Which sites are blocked is transformed, undone and verified, and every replica learns of it."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from girih.lattice.v1 import chains_pb2 as chains
from girih.lattice.v1 import history_pb2, lattice_pb2
from girih.lattice.v1 import transforms_pb2 as pb
from services.lattice.state import bitmaps
from tests.authority import Authority
from tests.lattice.history.test_service import History, arrays, damage
from tests.lattice.serving import Client, refusal, replica, until
from tests.processes import Process

SHAPE = (20, 30)


@pytest.fixture
def history(client: Client) -> History:
    return History(client)


def mask() -> np.ndarray:
    return np.random.default_rng(3).random(SHAPE) < 0.3


async def created(history: History, blocked: np.ndarray) -> str:
    bits = np.packbits(blocked.reshape(-1), bitorder="little").tobytes()
    return (await history.client.create(shape=SHAPE, blocked=bits)).lattice_id


async def transform(
    history: History, lattice_id: str, *transforms: dict[str, Any], **options: Any
) -> pb.TransformBlockedResponse:
    request = pb.TransformBlockedRequest(lattice_id=lattice_id, transforms=transforms, **options)
    answer: pb.TransformBlockedResponse = await history.stub.TransformBlocked(
        request, metadata=history.metadata
    )
    return answer


async def blocked_now(history: History, lattice_id: str) -> np.ndarray:
    request = lattice_pb2.ReadBlockedRequest(lattice_id=lattice_id)
    reading = history.client.lattices.ReadBlocked(request, metadata=history.metadata)
    bits = b"".join([part.data async for part in reading])
    unpacked = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
    return unpacked[: np.prod(SHAPE)].reshape(SHAPE).astype(bool)


async def test_blocked_sites_move_and_are_counted_anew(history: History) -> None:
    lattice_id = await created(history, mask())

    answer = await transform(
        history, lattice_id, {"translate": {"offset": [3, 0]}}, {"dilate": {"radius": 1}}
    )

    moved = np.roll(mask(), 3, 0)
    grown = moved.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            rolled = np.roll(moved, step, axis)
            rolled[(slice(None),) * axis + (0 if step == 1 else -1,)] = False
            grown |= rolled
    np.testing.assert_array_equal(await blocked_now(history, lattice_id), grown)
    assert answer.state.vertices == (~grown).sum()
    lattice = await history.client.get(lattice_id)
    assert (lattice.vertices, lattice.edges) == (answer.state.vertices, answer.state.edges)
    listed = (await history.client.page()).lattices
    assert [each.vertices for each in listed if each.lattice_id == lattice_id] == [lattice.vertices]


async def test_another_replica_learns_of_it(
    event_store: tuple[Process, str], authority: Authority, tenant: str
) -> None:
    address = event_store[1]
    async with (
        replica(address, authority, tenant) as one,
        replica(address, authority, tenant) as other,
    ):
        await until(one.is_serving)
        await until(other.is_serving)
        here, there = History(one), History(other)
        lattice_id = await created(here, mask())
        assert (await other.get(lattice_id)).vertices == (~mask()).sum()

        await transform(here, lattice_id, {"reflect": {"axes": [1]}})

        async def is_known() -> bool:
            return bool((await blocked_now(there, lattice_id) == mask()[:, ::-1]).all())

        await until(is_known)


async def test_changes_of_blocked_sites_are_undone_and_verified(history: History) -> None:
    lattice_id = await created(history, mask())
    first = await transform(history, lattice_id, {"xor_key": {"seed": 4}})
    await transform(history, lattice_id, {"erode": {}})

    kept = await history.ask("UndoBlocked", lattice_id=lattice_id)
    inverted = await history.ask("UndoBlocked", lattice_id=lattice_id)

    assert (kept.by_inverse, kept.state.digest) == (False, first.state.digest)
    assert (inverted.by_inverse, inverted.state.digest) == (True, first.before_digest)
    np.testing.assert_array_equal(await blocked_now(history, lattice_id), mask())
    assert (await refusal(history.ask("UndoBlocked", lattice_id=lattice_id))).reason == (
        "NOTHING_TO_UNDO"
    )
    again = await history.ask("RedoBlocked", lattice_id=lattice_id)
    assert again.state.digest == first.state.digest
    events = await history.verified(lattice_id)
    assert events[-1].sums.reproduced == 5
    assert events[-1].sums.verified
    then = await history.ask("GetState", lattice_id=lattice_id, revision=1)
    assert then.blocked == first.state
    past = await history.ask("GetHistory", lattice_id=lattice_id)
    assert [change.kind for change in past.changes] == [
        chains.CHANGE_KIND_CREATED,
        *[chains.CHANGE_KIND_TRANSFORMED] * 2,
        *[chains.CHANGE_KIND_UNDONE] * 2,
        chains.CHANGE_KIND_REDONE,
    ]


async def test_bitmaps_that_are_lost_are_told_and_the_rest_is_verified(
    history: History, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitmaps, "_INLINE_CHANGE_BYTES_MAX", 0)
    lattice_id = await created(history, mask())
    await transform(history, lattice_id, {"reflect": {"axes": [0]}})
    await transform(history, lattice_id, {"erode": {}})
    await transform(history, lattice_id, {"reflect": {"axes": [1]}})
    whole = [each.event.outcome for each in (await history.verified(lattice_id))[:-1]]
    kept = arrays(Path(authority.environ["LATTICE_STORAGE"]), lattice_id)
    for lost in (kept[0], kept[2]):
        damage(lost)

    *events, last = await history.verified(lattice_id)

    assert whole == [history_pb2.VERIFIED_OUTCOME_REPRODUCED] * 3
    assert [each.event.outcome for each in events] == [
        history_pb2.VERIFIED_OUTCOME_GONE,
        history_pb2.VERIFIED_OUTCOME_GONE,
        history_pb2.VERIFIED_OUTCOME_DAMAGED,
    ]
    assert not last.sums.verified


async def test_a_change_that_is_repeated_is_done_once(history: History) -> None:
    lattice_id = await created(history, mask())
    once = {"request_id": str(uuid4())}

    answers = [
        await transform(history, lattice_id, {"reflect": {"axes": [0]}}, **once) for _ in range(2)
    ]

    assert answers[0] == answers[1]
    np.testing.assert_array_equal(await blocked_now(history, lattice_id), mask()[::-1])
    other = transform(history, lattice_id, {"reflect": {"axes": [1]}}, **once)
    assert (await refusal(other)).reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ({"scale": {"factor": 2.0}}, "TRANSFORM_UNFIT"),
        ({"quarter_turns": {"column_axis": 1, "turns": 1}}, "TRANSFORM_UNFIT"),
        ({"rotate": {"column_axis": 1, "degrees": 9.0, "sampling": 2}}, "TRANSFORM_UNFIT"),
        ({"translate": {"offset": [1]}}, "INVALID_INPUT"),
    ],
    ids=str,
)
async def test_what_does_not_fit_blocked_sites_changes_nothing(
    history: History, step: dict[str, Any], reason: str
) -> None:
    lattice_id = await created(history, mask())

    error = await refusal(transform(history, lattice_id, step))

    assert error.reason == reason
    request = history_pb2.GetHistoryRequest(lattice_id=lattice_id)
    answer = await history.history.GetHistory(request, metadata=history.metadata)
    assert len(answer.changes) == 1
