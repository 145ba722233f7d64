"""Every store keeps arrays as promised, and the tools of others open them."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from services.lattice.arrays.number_type import NumberType
from services.lattice.errors import ChunkDamaged, StorageUnavailable
from services.lattice.storage.arrays import ArrayLayout, ArrayPlace, ArrayStore
from services.lattice.storage.objects import ObjectExists
from services.lattice.storage.opening import open_store

LATTICE = "01a225c9-957d-7000-8b5e-bc5d9c18d311"
SHAPE = (300, 70, 90)
"""Several chunks of doubles, the last of them not full."""


@pytest.fixture(params=["folder", "file URL", "memory"])
async def arrays(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ArrayStore]:
    if request.param != "folder":
        pytest.importorskip("obstore")
    (tmp_path / "kept").mkdir()
    places = {"folder": f"{tmp_path}/kept", "file URL": f"file://{tmp_path}/kept"}
    objects = open_store(places.get(request.param, "memory:///"))
    yield ArrayStore(objects)
    await objects.close()


def numbers(number_type: NumberType = NumberType.FLOAT64) -> np.ndarray:
    return np.random.default_rng(2).integers(1, 100, SHAPE).astype(number_type.dtype)


async def kept(
    arrays: ArrayStore, array: np.ndarray, number_type: NumberType = NumberType.FLOAT64
) -> tuple[ArrayPlace, ArrayLayout, list[bytes], str]:
    layout, place = ArrayLayout.of(number_type, SHAPE), ArrayPlace.new("us", LATTICE)
    data, digests = memoryview(array.tobytes()), []
    for ordinal in range(layout.chunking.count):
        inside = layout.inside_bytes(ordinal)
        digests.append(await arrays.put_chunk(place, layout, ordinal, data[:inside]))
        data = data[inside:]
    return place, layout, digests, await arrays.seal(place, layout, digests)


async def test_what_is_kept_is_read_by_its_digests(arrays: ArrayStore) -> None:
    array = numbers()

    place, layout, digests, digest = await kept(arrays, array)
    kept_digests = await arrays.chunk_digests(place, layout, digest)
    chunks = [
        (await arrays.chunk(place, layout, ordinal, each))[: layout.inside_bytes(ordinal)]
        for ordinal, each in enumerate(kept_digests)
    ]

    assert list(kept_digests) == digests
    assert len(digests) > 2
    assert b"".join(chunks) == array.tobytes()


async def test_a_chunk_is_written_once(arrays: ArrayStore) -> None:
    place, layout, _, _ = await kept(arrays, numbers())

    with pytest.raises(ObjectExists):
        await arrays.put_chunk(place, layout, 0, b"\1" * layout.inside_bytes(0))


async def test_what_is_missing_or_another_is_named(arrays: ArrayStore) -> None:
    place, layout, digests, digest = await kept(arrays, numbers())

    with pytest.raises(ChunkDamaged) as altered:
        await arrays.chunk(place, layout, 1, digests[0])
    with pytest.raises(ChunkDamaged) as other:
        await arrays.chunk_digests(place, layout, "0" * 64)
    await arrays.remove(place)
    with pytest.raises(ChunkDamaged) as missing:
        await arrays.chunk(place, layout, 1, digests[1])
    with pytest.raises(ChunkDamaged):
        await arrays.chunk_digests(place, layout, digest)
    with pytest.raises(ChunkDamaged) as copied:
        await arrays.copy_chunks(place, ArrayPlace.new("us", LATTICE), layout, [1])

    assert copied.value.metadata == missing.value.metadata
    assert altered.value.metadata == missing.value.metadata
    assert altered.value.metadata == {"array": place.folder, "chunk": "c.1.0.0"}
    assert other.value.metadata["chunk"] == "zarr.json"


async def test_a_chunk_is_kept_for_another_array_and_stays_when_the_first_is_gone(
    arrays: ArrayStore,
) -> None:
    place, layout, digests, _ = await kept(arrays, numbers())
    target = ArrayPlace.new("us", LATTICE)

    await arrays.copy_chunks(place, target, layout, [1])
    await arrays.remove(place)

    assert len(await arrays.chunk(target, layout, 1, digests[1])) == layout.chunk_bytes
    names = [name async for name in arrays.objects.folders(f"us/{LATTICE}")]
    assert target.array_id in names
    assert await arrays.objects.names(place.folder) == []


async def test_chunks_of_one_number_take_no_room(arrays: ArrayStore) -> None:
    array = numbers()
    array[:80] = 0

    place, layout, digests, _ = await kept(arrays, array)

    assert "c.0.0.0" not in await arrays.objects.names(place.folder)
    assert not any(await arrays.chunk(place, layout, 0, digests[0]))


@pytest.mark.parametrize("number_type", NumberType)
async def test_zarr_opens_what_is_kept(tmp_path: Path, number_type: NumberType) -> None:
    zarr = pytest.importorskip("zarr")
    objects = open_store(str(tmp_path))
    array = numbers(number_type)

    place, _, _, _ = await kept(ArrayStore(objects), array, number_type)
    opened = zarr.open_array(tmp_path / place.folder, mode="r")

    assert opened.dtype == number_type.dtype
    assert np.array_equal(opened[:], array)
    await objects.close()


async def test_a_store_without_room_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    objects = open_store(str(tmp_path / "file"))

    with pytest.raises(StorageUnavailable):
        await objects.put("a/b", [b"x"])
    await objects.close()
