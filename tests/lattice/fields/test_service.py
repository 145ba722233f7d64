"""Fields over gRPC: what is written is read, and what makes no sense changes nothing."""

import asyncio
import base64
import hashlib
import io
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
import numpy as np
import pytest

from girih.lattice.v1 import fields_pb2 as pb
from girih.lattice.v1 import lattice_pb2
from tests.authority import Authority
from tests.lattice.fields.caller import NUMBER_TYPES, Fields, kept_files, npy, pieces
from tests.lattice.serving import ABSENT, Client, refusal, replica, until
from tests.processes import Process

SHAPE = (70, 300, 40)
"""Of some MiB, so that fields have several chunks."""


@pytest.fixture
def fields(client: Client) -> Fields:
    return Fields(client)


@pytest.fixture
def storage(authority: Authority) -> Path:
    return Path(authority.environ["LATTICE_STORAGE"])


def numbers(shape: tuple[int, ...], dtype: str = "float64", seed: int = 7) -> np.ndarray:
    made = np.random.default_rng(seed).integers(0, 200, shape)
    return made.astype(dtype)


@pytest.mark.parametrize("dtype", NUMBER_TYPES)
@pytest.mark.parametrize("shape", [(5, 7), SHAPE], ids=str)
async def test_what_is_written_is_read(fields: Fields, dtype: str, shape: tuple[int, ...]) -> None:
    array = numbers(shape, dtype)
    lattice = await fields.client.create(shape=shape)

    written = await fields.write(lattice.lattice_id, "height", array)

    assert (written.size_bytes, tuple(written.shape)) == (array.nbytes, shape)
    assert await fields.read(lattice.lattice_id, "height") == array.tobytes()
    assert await fields.get(lattice.lattice_id, "height") == written
    assert bool(written.array) == (array.nbytes > 2**15)


@pytest.mark.parametrize("shape", [(5, 7), SHAPE], ids=str)
async def test_a_npy_file_goes_in_and_comes_out(fields: Fields, shape: tuple[int, ...]) -> None:
    array = numbers(shape, "int32")
    lattice_id = (await fields.client.create(shape=shape)).lattice_id

    written = await fields.write(lattice_id, "a", npy(array), content_type="application/x-npy")
    file = await fields.read(lattice_id, "a", format=pb.ARRAY_FORMAT_NPY)

    assert written.number_type == lattice_pb2.NUMBER_TYPE_INT32
    assert np.load(io.BytesIO(file), allow_pickle=False).tolist() == array.tolist()


@pytest.mark.parametrize("shape", [(9, 7), SHAPE], ids=str)
async def test_a_region_is_written_into_what_there_was(
    fields: Fields, shape: tuple[int, ...]
) -> None:
    array = numbers(shape)
    lattice_id = (await fields.client.create(shape=shape)).lattice_id
    first = await fields.write(lattice_id, "a", array)
    axes = len(shape)
    region = {
        "origin": [2] * axes,
        "shape": [2, *[3] * (axes - 1)],
        "steps": [3, *[1] * (axes - 1)],
    }
    inside = tuple(slice(2, 8, 3) if axis == 0 else slice(2, 5) for axis in range(axes))
    put = numbers(array[inside].shape, seed=8) + 1_000

    second = await fields.write(lattice_id, "a", put, **region)

    array[inside] = put
    assert await fields.read(lattice_id, "a") == array.tobytes()
    assert await fields.read(lattice_id, "a", **region) == put.tobytes()
    assert (second.revision, second.digest != first.digest) == (first.revision + 1, True)
    assert (await fields.write(lattice_id, "b", array)).digest == second.digest


async def test_a_field_of_one_number_keeps_nothing_and_is_written_into(
    fields: Fields, storage: Path
) -> None:
    lattice_id = (await fields.client.create(shape=SHAPE)).lattice_id
    before = kept_files(storage)
    request = pb.CreateFieldRequest(
        lattice_id=lattice_id, name="a", number_type=NUMBER_TYPES["float32"], fill=2.5
    )

    created = (await fields.stub.CreateField(request, metadata=fields.metadata)).field
    kept = kept_files(storage)
    one = np.array([7], np.float32)
    await fields.write(lattice_id, "a", one, origin=[69, 299, 39], shape=[1, 1, 1])

    expected = np.full(SHAPE, 2.5, np.float32)
    assert kept == before
    assert created.digest == (await fields.write(lattice_id, "b", expected)).digest
    expected[69, 299, 39] = 7
    assert await fields.read(lattice_id, "a") == expected.tobytes()
    error = await refusal(fields.stub.CreateField(request, metadata=fields.metadata))
    assert (error.code, error.reason) == (grpc.StatusCode.ALREADY_EXISTS, "FIELD_EXISTS")


async def test_a_creation_that_is_repeated_creates_once(fields: Fields) -> None:
    lattice_id = (await fields.client.create(shape=[4])).lattice_id
    options: dict[str, Any] = {"lattice_id": lattice_id, "name": "a", "request_id": str(uuid4())}
    options |= {"number_type": lattice_pb2.NUMBER_TYPE_UINT8, "fill": 2}

    async def create(**other: Any) -> pb.Field:
        request = pb.CreateFieldRequest(**(options | other))
        answer = await fields.stub.CreateField(request, metadata=fields.metadata)
        field: pb.Field = answer.field
        return field

    first = await create()
    await fields.write(lattice_id, "a", np.zeros(4, np.uint8))

    assert await create() == first
    for other in ({"fill": 3}, {"name": "b"}):
        assert (await refusal(create(**other))).reason == "REQUEST_ID_REUSED"
    assert (await refusal(create(request_id=""))).reason == "FIELD_EXISTS"
    await fields.stub.DeleteField(
        pb.DeleteFieldRequest(lattice_id=lattice_id, name="a"), metadata=fields.metadata
    )
    assert await create() == first


async def test_a_chunk_that_is_missing_or_altered_is_named(fields: Fields, storage: Path) -> None:
    lattice_id = (await fields.client.create(shape=SHAPE)).lattice_id
    written = await fields.write(lattice_id, "a", numbers(SHAPE))
    chunk = storage / written.array / "c.1.0.0"
    data = chunk.read_bytes()

    chunk.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    altered = await refusal(fields.read(lattice_id, "a"))
    chunk.unlink()
    missing = await refusal(fields.read(lattice_id, "a"))
    before = await fields.read(lattice_id, "a", shape=[1, 300, 40])
    chunk.write_bytes(data)

    for error in (altered, missing):
        assert (error.code, error.reason) == (grpc.StatusCode.DATA_LOSS, "CHUNK_DAMAGED")
        assert error.metadata == {"array": written.array, "chunk": "c.1.0.0"}
    assert before == numbers(SHAPE)[:1].tobytes()
    assert await fields.read(lattice_id, "a") == numbers(SHAPE).tobytes()


def digest_of(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


async def test_the_digest_of_what_is_sent_is_checked(fields: Fields) -> None:
    array = numbers(SHAPE)
    lattice_id = (await fields.client.create(shape=SHAPE)).lattice_id

    await fields.write(lattice_id, "a", array, content_digest=digest_of(array.tobytes()))
    error = await refusal(
        fields.write(lattice_id, "a", array + 1, content_digest=digest_of(array.tobytes()))
    )

    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [each.field for each in error.violations] == ["content_digest"]
    assert await fields.read(lattice_id, "a") == array.tobytes()


def big_endian(array: np.ndarray) -> bytes:
    return npy(array.astype(">f8"))


def promising(array: np.ndarray) -> bytes:
    """A file whose header promises 10^12 numbers."""
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (10000, 10000, 10000), }"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(100)


def of_objects(array: np.ndarray) -> bytes:
    """A file that only unpickling reads, which nobody does."""
    file = io.BytesIO()
    np.save(file, array.astype(object), allow_pickle=True)
    return file.getvalue()


NPY: dict[str, Any] = {"content_type": "application/x-npy"}
BAD: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "a byte too few": ("body", lambda a: a.tobytes()[:-1], {"number_type": 3}),
    "a byte too many": ("body", lambda a: a.tobytes() + b"x", {"number_type": 3}),
    "nothing": ("body", lambda _: b"", {"number_type": 3}),
    "no type": ("number_type", lambda a: a.tobytes(), {}),
    "big-endian": ("body", big_endian, NPY),
    "objects": ("body", of_objects, NPY),
    "Fortran order": ("body", lambda a: npy(np.asfortranarray(a)), NPY),
    "10^12 numbers": ("body", promising, NPY),
    "no header": ("body", lambda _: b"\x93NUMPY\x01\x00\x00\x00{}", NPY),
    "another shape": ("body", lambda a: npy(a[:-1]), NPY),
    "another type": ("number_type", npy, NPY | {"number_type": 2}),
    "raw bytes as a file": ("body", lambda a: a.tobytes(), NPY),
    "a file that is cut off": ("body", lambda a: npy(a)[:50], NPY),
    "a region outside": ("origin[1]", lambda a: a.tobytes(), {"origin": [0, 300, 0]}),
    "too large a region": ("shape[0]", lambda a: a.tobytes(), {"shape": [71, 1, 1]}),
    "another media type": ("body.content_type", lambda a: a.tobytes(), {"content_type": "x/y"}),
    "an offset": ("offset", lambda a: a.tobytes(), {"number_type": 3, "offset": 8}),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("shape", [(7, 30, 4), SHAPE], ids=str)
async def test_what_makes_no_sense_is_refused_and_leaves_nothing(
    fields: Fields, storage: Path, case: str, shape: tuple[int, ...]
) -> None:
    field, made, options = BAD[case]
    lattice_id = (await fields.client.create(shape=shape)).lattice_id

    error = await refusal(fields.write(lattice_id, "new", made(numbers(shape)), **options))

    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [each.field for each in error.violations] == [field]
    assert await fields.names(lattice_id) == []

    async def nothing_is_left() -> bool:
        return not [file for file in kept_files(storage) if lattice_id in file.parts]

    await until(nothing_is_left)
    await until(fields.client.computes_nothing)


async def test_a_write_that_is_cut_off_leaves_the_field_as_it_was(
    fields: Fields, storage: Path
) -> None:
    array = numbers(SHAPE)
    lattice_id = (await fields.client.create(shape=SHAPE)).lattice_id
    await fields.write(lattice_id, "a", array)
    kept = kept_files(storage)

    call = fields.stub.WriteField(metadata=fields.metadata)
    head = pb.WriteFieldRequest(
        lattice_id=lattice_id, name="a", number_type=NUMBER_TYPES["float64"]
    )
    head.body.data = bytes(2**20)
    await call.write(head)
    for _ in range(4):
        await call.write(pb.WriteFieldRequest(body={"data": bytes(2**20)}))
    call.cancel()

    async def all_is_as_it_was() -> bool:
        return kept_files(storage) == kept

    await until(all_is_as_it_was)
    assert await fields.read(lattice_id, "a") == array.tobytes()


async def test_an_upload_goes_on_from_where_it_was_cut_off(fields: Fields) -> None:
    array = numbers(SHAPE)
    data = array.tobytes()
    lattice_id = (await fields.client.create(shape=SHAPE)).lattice_id
    begin = pb.BeginUploadRequest(
        lattice_id=lattice_id,
        name="a",
        number_type=NUMBER_TYPES["float64"],
        content_digest=digest_of(data),
    )
    upload = (await fields.stub.BeginUpload(begin, metadata=fields.metadata)).upload
    upload_id = upload.upload_id

    part = await fields.send(lattice_id, "a", pieces(data[:5_000_000]), upload_id=upload_id)
    at = part.upload.offset
    where = pb.GetUploadRequest(lattice_id=lattice_id, name="a", upload_id=upload_id)
    resumed = (await fields.stub.GetUpload(where, metadata=fields.metadata)).upload
    stale = await refusal(fields.send(lattice_id, "a", pieces(data), upload_id=upload_id))
    names = await fields.names(lattice_id)
    last = await fields.send(lattice_id, "a", pieces(data[at:]), upload_id=upload_id, offset=at)

    assert 0 < at < 5_000_000
    assert resumed == part.upload
    assert (stale.reason, stale.metadata) == ("UPLOAD_OFFSET", {"offset": str(at)})
    assert names == []
    assert last.field.name == "a"
    assert await fields.read(lattice_id, "a") == data
    done = await refusal(fields.stub.GetUpload(where, metadata=fields.metadata))
    assert done.reason == "UPLOAD_NOT_FOUND"


async def test_writes_of_one_region_at_once_are_one_after_the_other_or_refused(
    fields: Fields,
) -> None:
    lattice_id = (await fields.client.create(shape=SHAPE)).lattice_id
    array = np.zeros(SHAPE)
    await fields.write(lattice_id, "a", array)

    async def put(row: int) -> bool:
        one = np.full((1, 300, 40), row + 1.0)
        try:
            await fields.write(lattice_id, "a", one, origin=[row, 0, 0], shape=one.shape)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.ABORTED  # noqa: PT017 - the other outcome
            return False
        return True

    taken = await asyncio.gather(*[put(row) for row in range(6)])

    for row, is_taken in enumerate(taken):
        if is_taken:
            array[row] = row + 1
    assert any(taken)
    assert await fields.read(lattice_id, "a") == array.tobytes()


async def test_another_replica_reads_what_was_written_here(
    fields: Fields, event_store: tuple[Process, str], authority: Authority, tenant: str
) -> None:
    lattice_id = (await fields.client.create(shape=SHAPE)).lattice_id
    async with replica(event_store[1], authority, tenant) as other:
        await until(other.is_serving)
        elsewhere = Fields(other)
        for seed in range(3):
            array = numbers(SHAPE, seed=seed)
            await fields.write(lattice_id, "a", array)
            assert await elsewhere.read(lattice_id, "a") == array.tobytes()


async def test_fields_of_others_are_as_those_that_do_not_exist(fields: Fields) -> None:
    lattice_id = (await fields.client.create(shape=[3])).lattice_id
    await fields.write(lattice_id, "a", numbers((3,)))
    stranger = Fields(fields.client.as_caller("stranger"))

    for owner, where, name, reason in (
        (fields, lattice_id, "b", "FIELD_NOT_FOUND"),
        (fields, ABSENT, "a", "LATTICE_NOT_FOUND"),
        (stranger, lattice_id, "a", "LATTICE_NOT_FOUND"),
    ):
        error = await refusal(owner.read(where, name))
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, reason)


async def test_a_deleted_field_is_gone_and_its_name_is_free(fields: Fields) -> None:
    lattice_id = (await fields.client.create(shape=[3])).lattice_id
    await fields.write(lattice_id, "a", numbers((3,)))
    request = pb.DeleteFieldRequest(lattice_id=lattice_id, name="a")

    await fields.stub.DeleteField(request, metadata=fields.metadata)
    again = await refusal(fields.stub.DeleteField(request, metadata=fields.metadata))
    await fields.write(lattice_id, "a", numbers((3,), "uint8"))

    assert again.reason == "FIELD_NOT_FOUND"
    assert await fields.read(lattice_id, "a") == numbers((3,), "uint8").tobytes()


async def test_more_than_the_operator_allows_is_refused_with_estimate_and_limit(
    event_store: tuple[Process, str], authority: Authority, tenant: str
) -> None:
    limits = {"LATTICE_FIELD_BYTES_MAX": "1000", "LATTICE_FIELDS_MAX": "1"}
    async with replica(event_store[1], authority, tenant, **limits) as client:
        await until(client.is_serving)
        fields = Fields(client)
        large = (await client.create(shape=[10**9, 10**9])).lattice_id
        small = (await client.create(shape=[3])).lattice_id
        await fields.write(small, "a", numbers((3,)))

        too_large = await refusal(fields.write(large, "a", numbers((3,))))
        too_many = await refusal(fields.write(small, "b", numbers((3,))))

    assert {too_large.reason, too_many.reason} == {"WORK_TOO_LARGE"}
    assert too_large.metadata == {"estimate": str(8 * 10**18), "limit": "1000"}
    assert too_many.metadata == {"estimate": "2", "limit": "1"}


async def test_a_read_that_its_caller_does_not_take_ends_and_says_so(
    event_store: tuple[Process, str], authority: Authority, tenant: str
) -> None:
    async with replica(event_store[1], authority, tenant, LATTICE_PART_TIMEOUT_S="1") as client:
        await until(client.is_serving)
        fields = Fields(client)
        # More than the windows of HTTP/2 take, which is what a caller holds that does not read.
        lattice = await client.create(shape=[6_000, 5_000])
        new = pb.CreateFieldRequest(
            lattice_id=lattice.lattice_id, name="a", number_type=NUMBER_TYPES["uint8"], fill=1
        )
        await fields.stub.CreateField(new, metadata=fields.metadata)
        request = pb.ReadFieldRequest(lattice_id=lattice.lattice_id, name="a")
        unread = fields.stub.ReadField(request, metadata=fields.metadata)
        await unread.read()
        assert not await client.computes_nothing()

        await until(client.computes_nothing, within_s=60)

        async def read_on() -> None:
            while await unread.read() is not grpc.aio.EOF:
                pass

        error = await refusal(read_on())
        assert (error.code, error.reason) == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "CONSUMER_TOO_SLOW",
        )
