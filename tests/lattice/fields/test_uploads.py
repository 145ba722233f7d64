"""How many uploads a tenant may have begun and not finished, and that each is finished once."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import grpc.aio
import pytest

from girih.lattice.v1 import fields_pb2 as pb
from tests.authority import Authority
from tests.lattice.fields.caller import NUMBER_TYPES, Fields, pieces
from tests.lattice.serving import Client, refusal, replica, until
from tests.processes import Process

SHAPE = (4, 5)
DATA = bytes(20)
NEWER = bytes([7]) * 20


async def begun(fields: Fields, lattice_id: str) -> str:
    """The id of an upload that was begun now."""
    request = pb.BeginUploadRequest(
        lattice_id=lattice_id, name="a", number_type=NUMBER_TYPES["uint8"]
    )
    answer: pb.BeginUploadResponse = await fields.stub.BeginUpload(
        request, metadata=fields.metadata
    )
    return answer.upload.upload_id


def mark_of(authority: Authority, tenant: str, upload_id: str) -> Path:
    """What is there while an upload counts, or has counted and its mark was not removed yet."""
    storage = Path(authority.environ["LATTICE_STORAGE"])
    return storage / tenant / "girih-uploads" / upload_id


def is_marked(authority: Authority, tenant: str, upload_id: str) -> bool:
    return mark_of(authority, tenant, upload_id).exists()


async def overwrite(fields: Fields, lattice_id: str) -> None:
    await fields.write(lattice_id, "a", NEWER, number_type=NUMBER_TYPES["uint8"])


async def delete(fields: Fields, lattice_id: str) -> None:
    request = pb.DeleteFieldRequest(lattice_id=lattice_id, name="a")
    await fields.stub.DeleteField(request, metadata=fields.metadata)


async def finish_again(fields: Fields, lattice_id: str, upload_id: str) -> pb.WriteFieldResponse:
    """Send the part behind the last one, which is empty."""
    return await fields.send(lattice_id, "a", [b""], upload_id=upload_id, offset=len(DATA))


async def may_begin(fields: Fields, lattice_id: str) -> bool:
    """Whether an upload was let in now."""
    try:
        await begun(fields, lattice_id)
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_no_more_uploads_are_unfinished_than_may_be_whichever_replica_is_asked(
    event_store: tuple[Process, str], authority: Authority, tenant: str
) -> None:
    async with (
        replica(event_store[1], authority, tenant, LATTICE_UPLOADS_MAX="3") as one,
        replica(event_store[1], authority, tenant, LATTICE_UPLOADS_MAX="3") as other,
        replica(event_store[1], authority, str(uuid4()), LATTICE_UPLOADS_MAX="3") as stranger,
    ):
        for each in (one, other, stranger):
            await until(each.is_serving)
        lattices = [(await one.create(shape=SHAPE)).lattice_id for _ in range(2)]
        here, there = Fields(one), Fields(other)

        first = await begun(here, lattices[0])
        for _ in range(2):
            await begun(there, lattices[1])
        full = await refusal(begun(here, lattices[0]))
        stranger_lattice = (await stranger.create(shape=SHAPE)).lattice_id
        await begun(Fields(stranger), stranger_lattice)
        await there.send(lattices[0], "a", pieces(DATA), upload_id=first)
        await begun(there, lattices[1])
        again = await refusal(begun(here, lattices[1]))

        assert (full.reason, full.metadata) == ("UPLOADS_FULL", {"limit": "3"})
        assert full.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert full.retry_after_s is None
        assert again.reason == "UPLOADS_FULL"


async def test_uploads_of_a_lattice_that_is_deleted_do_not_count_for_any_replica(
    event_store: tuple[Process, str], authority: Authority, tenant: str
) -> None:
    async with (
        replica(event_store[1], authority, tenant, LATTICE_UPLOADS_MAX="2") as one,
        replica(event_store[1], authority, tenant, LATTICE_UPLOADS_MAX="2") as other,
    ):
        for each in (one, other):
            await until(each.is_serving)
        kept, deleted = [(await one.create(shape=SHAPE)).lattice_id for _ in range(2)]
        await begun(Fields(one), kept)
        gone = await begun(Fields(one), deleted)
        assert not await may_begin(Fields(one), kept)

        await other.delete(deleted)

        assert not is_marked(authority, tenant, gone)
        # Who was refused may still count for a moment.
        await until(partial(may_begin, Fields(one), kept))
        assert not await may_begin(Fields(other), kept)


async def test_of_uploads_begun_at_once_no_more_are_let_in_than_may_be(
    event_store: tuple[Process, str], authority: Authority, tenant: str
) -> None:
    async with replica(event_store[1], authority, tenant, LATTICE_UPLOADS_MAX="3") as one:
        await until(one.is_serving)
        lattice_id = (await one.create(shape=SHAPE)).lattice_id

        let_in = await asyncio.gather(*(may_begin(Fields(one), lattice_id) for _ in range(12)))

        assert sum(let_in) <= 3
        # Who was refused takes no room from those who come then.
        for _ in range(3 - sum(let_in)):
            await until(partial(may_begin, Fields(one), lattice_id))
        assert not await may_begin(Fields(one), lattice_id)


async def test_what_has_expired_does_not_count_and_is_removed(
    event_store: tuple[Process, str], authority: Authority, tenant: str
) -> None:
    soon = {"LATTICE_UPLOADS_MAX": "1", "LATTICE_UPLOAD_S": "1", "LATTICE_REPLACED_S": "1"}
    soon["LATTICE_COLLECT_INTERVAL_S"] = "0.1"
    async with replica(event_store[1], authority, tenant, **soon) as one:
        await until(one.is_serving)
        lattice_id = (await one.create(shape=SHAPE)).lattice_id
        first = await begun(Fields(one), lattice_id)
        assert is_marked(authority, tenant, first)

        async def the_first_is_removed() -> bool:
            await Fields(one).names(lattice_id)
            return not is_marked(authority, tenant, first)

        await until(partial(may_begin, Fields(one), lattice_id))
        await until(the_first_is_removed)


@pytest.mark.parametrize(
    ("change", "is_there"), [(overwrite, True), (delete, False)], ids=["overwritten", "deleted"]
)
async def test_a_finished_upload_is_gone_whatever_becomes_of_its_field(
    client: Client, change: Callable[[Fields, str], Awaitable[None]], is_there: bool
) -> None:
    fields = Fields(client)
    lattice_id = (await client.create(shape=SHAPE)).lattice_id
    upload_id = await begun(fields, lattice_id)
    await fields.send(lattice_id, "a", pieces(DATA), upload_id=upload_id)
    await change(fields, lattice_id)

    where = pb.GetUploadRequest(lattice_id=lattice_id, name="a", upload_id=upload_id)
    asked = await refusal(fields.stub.GetUpload(where, metadata=fields.metadata))
    sent = await refusal(finish_again(fields, lattice_id, upload_id))

    assert (asked.reason, sent.reason) == ("UPLOAD_NOT_FOUND", "UPLOAD_NOT_FOUND")
    assert await fields.names(lattice_id) == ["a"] * is_there
    assert not is_there or await fields.read(lattice_id, "a") == NEWER


@pytest.mark.parametrize(
    ("change", "is_there"), [(overwrite, True), (delete, False)], ids=["overwritten", "deleted"]
)
async def test_an_upload_is_finished_once_though_its_replica_ended_before_it_took_note(
    client: Client,
    authority: Authority,
    tenant: str,
    change: Callable[[Fields, str], Awaitable[None]],
    is_there: bool,
    tmp_path: Path,
) -> None:
    fields = Fields(client)
    lattice_id = (await client.create(shape=SHAPE)).lattice_id
    upload_id = await begun(fields, lattice_id)
    mark = mark_of(authority, tenant, upload_id)
    shutil.copytree(mark, tmp_path / "mark")
    await fields.send(lattice_id, "a", pieces(DATA), upload_id=upload_id)
    shutil.copytree(tmp_path / "mark", mark)
    await change(fields, lattice_id)

    sent = await refusal(finish_again(fields, lattice_id, upload_id))

    assert sent.reason == "UPLOAD_NOT_FOUND"
    assert await fields.names(lattice_id) == ["a"] * is_there
    assert not is_there or await fields.read(lattice_id, "a") == NEWER
    assert not mark.exists()
