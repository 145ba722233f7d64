"""History over gRPC: told, undone, done again, read as it was, compared and verified."""

import io
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from PIL import Image

from girih.lattice.v1 import chains_pb2 as chains
from girih.lattice.v1 import fields_pb2, pictures_pb2
from girih.lattice.v1 import history_pb2 as pb
from girih.lattice.v1.history_pb2_grpc import HistoryServiceStub
from girih.lattice.v1.pictures_pb2_grpc import PictureServiceStub
from tests.authority import Authority
from tests.lattice.serving import Client, refusal
from tests.lattice.transforms.caller import Transforms

SMALL, LARGE = (6, 7), (60, 60, 40)


class History(Transforms):
    """The history of one tenant's lattices, through one replica."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.history = HistoryServiceStub(client.channel)

    async def ask(self, rpc: str, **fields: Any) -> Any:
        request = getattr(pb, f"{rpc}Request")(**fields)
        return await getattr(self.history, rpc)(request, metadata=self.metadata)

    async def undo(self, lattice_id: str, name: str = "a", **fields: Any) -> pb.UndoChangeResponse:
        answer: pb.UndoChangeResponse = await self.ask(
            "UndoChange", lattice_id=lattice_id, name=name, **fields
        )
        return answer

    async def redo(self, lattice_id: str, name: str = "a", **fields: Any) -> pb.RedoChangeResponse:
        answer: pb.RedoChangeResponse = await self.ask(
            "RedoChange", lattice_id=lattice_id, name=name, **fields
        )
        return answer

    async def drawn(self, **fields: Any) -> bytes:
        request = pictures_pb2.RenderRequest(**fields)
        stub = PictureServiceStub(self.client.channel)
        drawing = stub.Render(request, metadata=self.metadata)
        return b"".join([part.data async for part in drawing])

    async def verified(self, lattice_id: str) -> list[pb.VerifyLatticeResponse]:
        request = pb.VerifyLatticeRequest(lattice_id=lattice_id)
        return [each async for each in self.history.VerifyLattice(request, metadata=self.metadata)]

    async def chained(self, lattice_id: str) -> list[str]:
        """Transform a field step by step; its digests."""
        return [(await self.transform(lattice_id, each)).field.digest for each in MIXED]

    async def digest(self, lattice_id: str, name: str = "a") -> str:
        return (await self.fields.get(lattice_id, name)).digest


@pytest.fixture
def history(client: Client) -> History:
    return History(client)


@pytest.fixture
def storage(authority: Authority) -> Path:
    return Path(authority.environ["LATTICE_STORAGE"])


def numbers(shape: tuple[int, ...] = SMALL) -> np.ndarray:
    return np.random.default_rng(7).normal(size=shape)


def arrays(storage: Path, lattice_id: str) -> list[Path]:
    """The folders of a lattice's arrays, oldest first."""
    return sorted(storage.glob(f"*/{lattice_id}/*"))


def damage(array: Path) -> None:
    """Change a byte of a chunk."""
    chunk = next(array.glob("c.*"))
    chunk.chmod(0o600)
    chunk.write_bytes(bytes([chunk.read_bytes()[0] ^ 1]) + chunk.read_bytes()[1:])


MIXED: tuple[dict[str, Any], ...] = (
    {"reflect": {"axes": [0]}},
    {"scale": {"factor": 0.5, "offset": 1.0}},
    {"xor_key": {"key": b"key"}},
    {"laplacian": {}},
)


@pytest.mark.parametrize("shape", [SMALL, LARGE], ids=str)
async def test_what_is_undone_is_as_before_and_done_again_as_behind(
    history: History, shape: tuple[int, ...]
) -> None:
    lattice_id = await history.lattice(numbers(shape))
    digests = [await history.digest(lattice_id)]
    digests += await history.chained(lattice_id)

    undone = [await history.undo(lattice_id) for _ in MIXED]
    redone = [await history.redo(lattice_id) for _ in MIXED]

    assert [each.field.digest for each in undone] == digests[-2::-1]
    assert [each.by_inverse for each in undone] == [False, True, False, True]
    assert [each.field.digest for each in redone] == digests[1:]
    assert (await refusal(history.redo(lattice_id))).reason == "NOTHING_TO_REDO"
    for _ in MIXED:
        await history.undo(lattice_id)
    assert (await refusal(history.undo(lattice_id))).reason == "NOTHING_TO_UNDO"


async def test_what_is_kept_no_more_is_computed_anew(history: History, storage: Path) -> None:
    lattice_id = await history.lattice(numbers(LARGE))
    digests = await history.chained(lattice_id)
    _let_go_of_derived(storage, lattice_id)

    undone = await history.undo(lattice_id)
    read = await history.fields.read(lattice_id, "a", at_revision=3)

    assert undone.field.digest == digests[-2]
    expected = numbers(LARGE)[::-1] * 0.5 + 1.0
    np.testing.assert_array_equal(np.frombuffer(read), expected.reshape(-1))
    sums = (await history.verified(lattice_id))[-1].sums
    assert (sums.kept, sums.reproduced, sums.verified) == (1, 5, True)


def _let_go_of_derived(storage: Path, lattice_id: str) -> None:
    """All arrays but the first, which a caller sent, and the one that is there now."""
    first, *derived, _ = arrays(storage, lattice_id)
    for folder in derived:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert first.is_dir()


async def test_a_state_that_nothing_leads_to_is_gone(history: History, storage: Path) -> None:
    lattice_id = await history.lattice(numbers(LARGE))
    await history.fields.write(lattice_id, "a", numbers(LARGE) + 1)
    for file in arrays(storage, lattice_id)[0].iterdir():
        file.unlink()

    error = await refusal(history.undo(lattice_id))

    assert (error.reason, error.metadata["earliest_revision"]) == ("STATE_GONE", "2")
    sums = (await history.verified(lattice_id))[-1].sums
    assert (sums.kept, sums.gone, sums.verified) == (1, 1, True)


async def test_damage_is_found(history: History, storage: Path) -> None:
    lattice_id = await history.lattice(numbers(LARGE))
    damage(arrays(storage, lattice_id)[0])

    event, sums = await history.verified(lattice_id)

    assert event.event.outcome == pb.VERIFIED_OUTCOME_DAMAGED
    assert not sums.sums.verified


async def test_history_tells_who_did_what(history: History) -> None:
    lattice_id = await history.lattice(numbers())
    made = await history.transform(lattice_id, {"xor_key": {"seed": 5}})
    await history.undo(lattice_id)

    first = await history.ask("GetHistory", lattice_id=lattice_id, page_size=2)
    rest = await history.ask(
        "GetHistory", lattice_id=lattice_id, page_size=2, page_token=first.next_page_token
    )

    changes = [*first.changes, *rest.changes]
    assert [change.revision for change in changes] == [0, 1, 2, 3]
    assert [change.kind for change in changes] == [
        chains.CHANGE_KIND_CREATED,
        chains.CHANGE_KIND_WRITTEN,
        chains.CHANGE_KIND_TRANSFORMED,
        chains.CHANGE_KIND_UNDONE,
    ]
    assert not rest.next_page_token
    transformed, undone = changes[2:]
    assert transformed.applied.transforms[0].xor_key.seed == 5
    assert (transformed.before_digest, transformed.digest) == (
        changes[1].digest,
        made.field.digest,
    )
    assert (undone.of_revision, undone.digest) == (2, changes[1].digest)
    assert all(change.actor and change.correlation_id for change in changes)


async def test_an_undo_that_is_repeated_is_done_once(history: History) -> None:
    lattice_id = await history.lattice(numbers())
    for _ in range(2):
        await history.transform(lattice_id, {"reflect": {"axes": [0]}})
    once = {"request_id": str(uuid4())}

    first, again = [await history.undo(lattice_id, **once) for _ in range(2)]

    assert first == again
    assert first.of_revision == 3
    assert (await refusal(history.redo(lattice_id, **once))).reason == "REQUEST_ID_REUSED"


async def test_modes_are_undone_with_their_imaginary_parts(history: History) -> None:
    lattice_id = await history.lattice(numbers())
    before = await history.digest(lattice_id)
    await history.transform(lattice_id, {"fourier": {}}, imaginary="b")

    undone = await history.undo(lattice_id)

    assert undone.field.digest == before
    assert undone.imaginary.revision == undone.field.revision
    assert not np.frombuffer(await history.fields.read(lattice_id, "b")).any()
    assert (await history.verified(lattice_id))[-1].sums.verified


async def test_what_was_converted_is_undone(history: History) -> None:
    lattice_id = await history.lattice(numbers())
    before = await history.digest(lattice_id)
    to_bytes = {"convert": {"number_type": "NUMBER_TYPE_UINT8"}}
    await history.transform(lattice_id, {"add": {"number": 1.0}}, to_bytes)

    undone = await history.undo(lattice_id)

    assert (undone.field.digest, undone.by_inverse) == (before, False)


async def test_imaginary_parts_may_have_been_changed_and_brought_back(history: History) -> None:
    lattice_id = await history.lattice(numbers())
    before = await history.digest(lattice_id)
    await history.transform(lattice_id, {"fourier": {}}, imaginary="b")
    await history.transform(lattice_id, {"scale": {"factor": 2.0}}, name="b")
    refused = await refusal(history.undo(lattice_id))
    await history.undo(lattice_id, "b")

    undone = await history.undo(lattice_id)

    assert refused.reason == "LATTICE_CHANGED"
    assert undone.field.digest == before


async def test_modes_are_computed_again_whatever_their_imaginary_parts_went_through(
    history: History,
) -> None:
    lattice_id = await history.lattice(numbers())
    modes = (await history.transform(lattice_id, {"fourier": {}}, imaginary="b")).imaginary.digest
    await history.undo(lattice_id)
    await history.transform(lattice_id, {"add": {"number": 2.0}}, name="b")
    refused = await refusal(history.redo(lattice_id))
    await history.undo(lattice_id, "b")

    again = await history.redo(lattice_id)

    assert (refused.reason, again.imaginary.digest) == ("LATTICE_CHANGED", modes)
    await history.undo(lattice_id)
    deleting = fields_pb2.DeleteFieldRequest(lattice_id=lattice_id, name="b")
    await history.fields.stub.DeleteField(deleting, metadata=history.metadata)
    assert (await history.redo(lattice_id)).imaginary.digest == modes
    assert (await history.verified(lattice_id))[-1].sums.verified


async def test_a_deleted_field_has_no_past(history: History) -> None:
    lattice_id = await history.lattice(numbers())
    await history.transform(lattice_id, {"reflect": {"axes": [0]}})
    deleting = fields_pb2.DeleteFieldRequest(lattice_id=lattice_id, name="a")
    await history.fields.stub.DeleteField(deleting, metadata=history.metadata)

    error = await refusal(history.undo(lattice_id))
    state = await history.ask("GetState", lattice_id=lattice_id, revision=2)

    assert (error.reason, error.metadata["deleted_revision"]) == ("FIELD_NOT_FOUND", "3")
    assert [field.name for field in state.fields] == ["a"]
    now = await history.ask("GetState", lattice_id=lattice_id)
    assert (now.revision, list(now.fields)) == (3, [])


async def test_states_are_told_by_revision_and_by_time(history: History) -> None:
    lattice_id = await history.lattice(numbers())
    before = await history.digest(lattice_id)
    await history.transform(lattice_id, {"reflect": {"axes": [0]}})

    by_revision = await history.ask("GetState", lattice_id=lattice_id, revision=1)
    by_time = await history.ask("GetState", lattice_id=lattice_id, time=by_revision.recorded_at)
    error = await refusal(history.ask("GetState", lattice_id=lattice_id, revision=9))
    never = history.ask("GetState", lattice_id=lattice_id, time=Timestamp(seconds=1 << 62))

    assert by_revision == by_time
    assert [field.digest for field in by_revision.fields] == [before]
    assert error.reason == "INVALID_INPUT"
    assert [each.field for each in (await refusal(never)).violations] == ["time"]


async def test_a_revision_that_there_is_not_is_named_as_it_was_asked_for(history: History) -> None:
    lattice_id = await history.lattice(numbers())

    from_none = history.ask("DiffField", lattice_id=lattice_id, name="a", from_revision=9)
    to_none = history.ask(
        "DiffField", lattice_id=lattice_id, name="a", from_revision=1, to_revision=9
    )
    minus_none = history.drawn(lattice_id=lattice_id, name="a", minus_revision=9)

    errors = [await refusal(asked) for asked in (from_none, to_none, minus_none)]
    assert [[one.field for one in error.violations] for error in errors] == [
        ["from_revision"],
        ["to_revision"],
        ["minus_revision"],
    ]


async def test_two_states_are_compared_and_drawn(history: History) -> None:
    array = numbers()
    lattice_id = await history.lattice(array)
    changed = array.copy()
    changed[2, 3:5] += 4.0
    await history.fields.write(lattice_id, "a", changed)

    difference = await history.ask("DiffField", lattice_id=lattice_id, name="a", from_revision=1)
    then, apart = [
        await history.drawn(lattice_id=lattice_id, name="a", **options, pixels_max=64)
        for options in ({"at_revision": 1}, {"minus_revision": 1, "low": -4.0, "high": 4.0})
    ]

    assert (difference.sites, difference.differing, difference.greatest) == (
        42,
        2,
        pytest.approx(4.0),
    )
    assert [(list(each.origin), list(each.shape)) for each in difference.regions] == [
        ([2, 3], [1, 2])
    ]
    assert then.startswith(b"\x89PNG")
    pixels = np.asarray(Image.open(io.BytesIO(apart)).convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) == 2
