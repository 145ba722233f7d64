"""Arrays that are larger than a message, over connections that break: they go on from there."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from girih.client import (
    AsyncClient,
    Client,
    DataDamaged,
    FieldNotFound,
    InvalidRequest,
    Lattice,
    RetryPolicy,
    UploadInterrupted,
    UploadNotFound,
)
from girih.client.lattices import arrays, fields
from girih.client.lattices.sources import KEPT_BYTES, PIECE_BYTES, InMemory, ReadOnce
from tests.authority import Authority
from tests.client.cutting import Cutting, cutting

RETRY = RetryPolicy(timeout_s=90.0, attempt_timeout_s=90.0, pause_s_min=0.01, pause_s_max=0.1)
MIB = 1 << 20
SHAPE = (32, 1024, 128)
"""Of 32 MiB of doubles, in eight chunks."""


def files_in(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


@pytest.fixture
async def broken(lattice_address: str) -> AsyncIterator[Cutting]:
    async with cutting(lattice_address) as between:
        yield between


@pytest.fixture
async def girih(
    address: str, broken: Cutting, authority: Authority, tenant: str
) -> AsyncIterator[AsyncClient]:
    token = authority.token(tenant)
    async with AsyncClient(
        events=address, lattice=broken.address, token=token, retry=RETRY
    ) as girih:
        yield girih


@pytest.fixture
async def direct(
    address: str, lattice_address: str, authority: Authority, tenant: str
) -> AsyncIterator[AsyncClient]:
    token = authority.token(tenant)
    async with AsyncClient(
        events=address, lattice=lattice_address, token=token, retry=RETRY
    ) as girih:
        yield girih


@pytest.fixture
def blocking(address: str, broken: Cutting, authority: Authority, tenant: str) -> Iterator[Client]:
    token = authority.token(tenant)
    with Client(events=address, lattice=broken.address, token=token, retry=RETRY) as girih:
        yield girih


@pytest.fixture
async def lattice(direct: AsyncClient) -> Lattice:
    return await direct.lattices.create(SHAPE)


@pytest.fixture(scope="module")
def array() -> NDArray[np.float64]:
    return np.random.default_rng(3).random(SHAPE)


class Noted(InMemory):
    """Notes where it is asked to go on."""

    def __init__(self, array: NDArray[np.float64]) -> None:
        super().__init__(arrays.numbers(array, ("float64",))[2])
        self.offsets: list[int] = []

    def pieces(self, offset: int) -> Iterator[bytes]:
        self.offsets.append(offset)
        return super().pieces(offset)


async def test_an_array_goes_on_where_it_was_cut_off(
    girih: AsyncClient, lattice: Lattice, array: NDArray[np.float64], broken: Cutting
) -> None:
    broken.cuts_up += [28 * MIB]  # a chunk that is not whole, and those on their way, are lost
    source = Noted(array)

    await girih.lattices.fields._uploaded(fields.Upload(lattice, "h", "float64", source), None)

    assert broken.cut_count == 1
    assert source.offsets[0] == 0 < source.offsets[-1]
    np.testing.assert_array_equal(await girih.lattices.fields.read(lattice, "h"), array)


async def test_bytes_that_are_read_once_go_on_without_asyncio(
    blocking: Client, lattice: Lattice, array: NDArray[np.float64], broken: Cutting
) -> None:
    broken.cuts_up += [28 * MIB]
    pieces = (row.tobytes() for row in array.reshape(-1, 1 << 12))

    written = await asyncio.to_thread(
        blocking.lattices.fields.upload, lattice, "h", pieces, "float64"
    )

    values = await asyncio.to_thread(blocking.lattices.fields.read, lattice, "h")
    np.testing.assert_array_equal(values, array)
    assert (written.dtype, broken.cut_count) == ("float64", 1)


async def test_an_upload_whose_answer_was_lost_is_known_to_be_there(
    girih: AsyncClient,
    direct: AsyncClient,
    lattice: Lattice,
    array: NDArray[np.float64],
    broken: Cutting,
) -> None:
    async def is_written() -> bool:
        may_be = broken.up_bytes >= array.nbytes and not broken.cut_count
        return may_be and len(await direct.lattices.fields.list(lattice)) == 1

    broken.cuts_instead = is_written

    written = await girih.lattices.fields.write(lattice, "h", array)

    assert broken.cut_count == 1
    assert broken.up_bytes < 1.5 * array.nbytes  # and is not sent again
    assert await direct.lattices.fields.list(lattice) == (written,)


@pytest.mark.parametrize("is_deleted", [True, False], ids=["deleted", "overwritten"])
async def test_an_upload_whose_answer_was_lost_undoes_nothing_that_came_behind_it(
    girih: AsyncClient,
    direct: AsyncClient,
    lattice: Lattice,
    array: NDArray[np.float64],
    broken: Cutting,
    *,
    is_deleted: bool,
) -> None:
    async def is_written() -> bool:
        may_be = broken.up_bytes >= array.nbytes and not broken.cut_count
        return may_be and len(await direct.lattices.fields.list(lattice)) == 1

    async def change() -> None:
        if is_deleted:
            await direct.lattices.fields.delete(lattice, "h")
        else:
            await direct.lattices.fields.write(lattice, "h", -array)

    broken.cuts_instead, broken.before_cut = is_written, change

    with pytest.raises(UploadNotFound):
        await girih.lattices.fields.write(lattice, "h", array)

    assert len(await direct.lattices.fields.list(lattice)) == (0 if is_deleted else 1)
    if not is_deleted:
        values = await direct.lattices.fields.read(lattice, "h")
        np.testing.assert_array_equal(values, -array)


async def test_a_read_goes_on_in_the_field_as_it_was(
    girih: AsyncClient,
    direct: AsyncClient,
    lattice: Lattice,
    array: NDArray[np.float64],
    broken: Cutting,
    tmp_path: Path,
) -> None:
    async def write_over() -> None:
        await direct.lattices.fields.write(lattice, "h", -array)

    await direct.lattices.fields.write(lattice, "h", array)
    broken.before_cut = write_over
    broken.cuts_down += [20 * MIB]

    values = await girih.lattices.fields.download(lattice, "h", tmp_path / "h.npy")

    np.testing.assert_array_equal(values, array)
    np.testing.assert_array_equal(np.load(tmp_path / "h.npy"), array)
    assert broken.cut_count == 1
    assert broken.down_bytes < 48 * MIB  # 52 where it begins anew
    assert files_in(tmp_path) == ["h.npy"]


async def test_a_region_goes_on_row_after_row_without_asyncio(
    blocking: Client,
    direct: AsyncClient,
    lattice: Lattice,
    array: NDArray[np.float64],
    broken: Cutting,
) -> None:
    await direct.lattices.fields.write(lattice, "h", array)
    broken.cuts_down += [5 * MIB, 3 * MIB]

    values = await asyncio.to_thread(
        blocking.lattices.fields.read,
        lattice,
        "h",
        origin=(7, 1, 2),
        shape=(1, 1000, 126),
        steps=(3, 1, 1),
    )
    several = await asyncio.to_thread(
        blocking.lattices.fields.read, lattice, "h", origin=(1, 0, 0), steps=(2, 1, 1)
    )

    np.testing.assert_array_equal(values, array[7:8, 1:1001, 2:128])
    np.testing.assert_array_equal(several, array[1::2])
    assert broken.cut_count == 2


async def test_what_came_must_have_the_digest_of_the_field(
    direct: AsyncClient, lattice: Lattice, array: NDArray[np.float64], tmp_path: Path
) -> None:
    written = await direct.lattices.fields.write(lattice, "h", array)
    read = fields.Read(lattice, "h", fields.Box(), tmp_path / "h.npy")
    async for response in direct.lattices.fields._stub.ReadField(
        read.begin(),
        metadata=(("authorization", f"Bearer {direct._caller.token}"),),
    ):
        read.take(response)

    assert arrays.digest(read.result(), (1, 1024, 128)) != written.digest
    read.result()[3, 4, 5] += 1
    with pytest.raises(DataDamaged):
        read.result()


async def test_files_are_sent_without_being_read_into_memory(
    blocking: Client, lattice: Lattice, array: NDArray[np.float64], tmp_path: Path
) -> None:
    np.save(tmp_path / "h.npy", array)

    await asyncio.to_thread(blocking.lattices.fields.write, lattice, "h", tmp_path / "h.npy")
    raw = io.BytesIO((array * 2).tobytes())
    await asyncio.to_thread(blocking.lattices.fields.upload, lattice, "raw", raw, "float64")

    assert isinstance(arrays.opened(tmp_path / "h.npy"), np.memmap)
    values = await asyncio.to_thread(blocking.lattices.fields.read, lattice, "h")
    np.testing.assert_array_equal(values, array)
    values = await asyncio.to_thread(blocking.lattices.fields.read, lattice, "raw")
    np.testing.assert_array_equal(values, array * 2)


@pytest.mark.parametrize("size", [SHAPE, (4, 2)])
async def test_an_array_of_another_shape_is_refused(
    girih: AsyncClient, size: tuple[int, ...]
) -> None:
    lattice = await girih.lattices.create(size)

    with pytest.raises(InvalidRequest) as refused:
        await girih.lattices.fields.write(lattice.id, "h", np.zeros(size[::-1]))

    assert refused.value.violations
    assert await girih.lattices.fields.list(lattice) == ()


async def test_too_few_bytes_and_too_many_change_nothing(
    girih: AsyncClient, lattice: Lattice, array: NDArray[np.float64]
) -> None:
    upload = girih.lattices.fields.upload
    data = array.tobytes()

    with pytest.raises(InvalidRequest):
        await upload(lattice, "h", [data[:-1]], "float64")
    with pytest.raises(InvalidRequest):
        await upload(lattice, "h", [data, b"x"], "float64")
    with pytest.raises(ValueError, match="dtype must be one of"):
        await upload(lattice, "h", [data], "complex64")

    with pytest.raises(FieldNotFound):
        await girih.lattices.fields.get(lattice, "h")


async def test_what_reading_raises_ends_the_upload(
    girih: AsyncClient, blocking: Client, lattice: Lattice
) -> None:
    def failing() -> Iterator[bytes]:
        yield bytes(3 * MIB)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await girih.lattices.fields.upload(lattice, "h", failing(), "float64")
    with pytest.raises(OSError, match="the disk is gone"):
        await asyncio.to_thread(blocking.lattices.fields.upload, lattice, "h", failing(), "float64")
    with pytest.raises(OSError, match="the disk is gone"):
        await girih.lattices.upload((1 << 28,), failing())


async def test_blocked_sites_of_a_file_are_more_than_a_message_holds(
    girih: AsyncClient, blocking: Client, broken: Cutting, tmp_path: Path
) -> None:
    blocked = np.random.default_rng(1).random((6000, 6000)) < 0.3
    np.save(tmp_path / "blocked.npy", blocked)
    broken.cuts_up += [2 * MIB]

    lattice = await girih.lattices.create(blocked=tmp_path / "blocked.npy")
    packed = np.packbits(blocked, bitorder="little").tobytes()
    same = await asyncio.to_thread(
        blocking.lattices.upload, (6000, 6000), io.BytesIO(packed), boundaries="periodic"
    )

    assert broken.cut_count == 1
    assert lattice.blocked_sites == same.blocked_sites == blocked.sum()
    np.testing.assert_array_equal(await girih.lattices.blocked(lattice), blocked)
    assert [one.id async for one in girih.lattices.list()] == [lattice.id, same.id]


def test_only_the_last_bytes_are_there_again() -> None:
    source = ReadOnce(bytes([n % 256]) * PIECE_BYTES for n in range(100))
    first = source.pieces(0)
    assert [next(first)[0] for _ in range(70)] == list(range(70))

    again = source.pieces(70 * PIECE_BYTES - KEPT_BYTES + 5)
    rest = list(again)

    assert [len(rest[0]), rest[0][0], rest[-1][0]] == [PIECE_BYTES - 5, 6, 99]
    assert next(first, None) is None, "what was begun before ends"
    with pytest.raises(UploadInterrupted):
        source.pieces(0)


@pytest.mark.parametrize("bad", [2, -1, 0.5])
def test_blocked_sites_are_zeros_and_ones(bad: float) -> None:
    blocked = np.zeros((5000, 5000), type(bad))
    blocked[4999, 4999] = bad

    with pytest.raises(ValueError, match="of 0 and 1"):
        arrays.packed(blocked)
