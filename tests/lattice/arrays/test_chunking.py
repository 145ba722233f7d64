"""Arrays are cut into chunks that follow each other, whatever their shape."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.lattice.arrays.chunking import Chunking
from services.lattice.arrays.region import Region, region_of
from services.plumbing.errors import InvalidInput

shapes = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)


@st.composite
def regions(draw: st.DrawFn) -> tuple[tuple[int, ...], Region, int]:
    shape = draw(shapes)
    origin = [draw(st.integers(0, length - 1)) for length in shape]
    steps = [draw(st.integers(1, 4)) for _ in shape]
    reach = [
        -(-(length - at) // step) for at, length, step in zip(origin, shape, steps, strict=True)
    ]
    counts = [draw(st.integers(1, most)) for most in reach]
    return shape, region_of(shape, origin, counts, steps), draw(st.integers(1, 64))


def selected(array: np.ndarray, region: Region) -> np.ndarray:
    places = zip(region.origin, region.shape, region.steps, strict=True)
    return array[tuple(slice(o, o + n * step, step) for o, n, step in places)]


@given(regions())
def test_the_parts_of_chunks_are_the_region_in_c_order(
    case: tuple[tuple[int, ...], Region, int],
) -> None:
    shape, region, chunk_bytes = case
    array = np.arange(math.prod(shape)).reshape(shape)
    chunking = Chunking.of(shape, 1, chunk_bytes)

    parts_read = []
    for part in chunking.parts(region):
        begin = sum(chunking.inside(ordinal) for ordinal in range(part.ordinal))
        chunk = np.full(chunking.chunk_sites, -1)
        inside = chunking.inside(part.ordinal)
        chunk[:inside] = array.reshape(-1)[begin : begin + inside]
        values = chunk.reshape(chunking.chunk_shape)[part.selection]
        assert values.shape == part.shape
        parts_read.append(values.reshape(-1))

    assert np.concatenate(parts_read).tolist() == selected(array, region).reshape(-1).tolist()


@given(shapes, st.integers(1, 8), st.integers(8, 500))
def test_chunks_are_no_larger_than_asked_and_hold_each_number_once(
    shape: tuple[int, ...], item_bytes: int, chunk_bytes: int
) -> None:
    chunking = Chunking.of(shape, item_bytes, chunk_bytes)

    assert item_bytes * chunking.chunk_sites <= chunk_bytes
    inside = [chunking.inside(ordinal) for ordinal in range(chunking.count)]
    assert sum(inside) == math.prod(shape)
    assert len({chunking.key(ordinal) for ordinal in range(chunking.count)}) == chunking.count


@pytest.mark.parametrize(
    ("origin", "counts", "steps", "field"),
    [
        ([0], [], [], "origin"),
        ([4, 0], [], [], "origin[0]"),
        ([], [4, 6], [], "shape[1]"),
        ([1, 1], [3, 5], [], "shape[1]"),
        ([], [2, 4], [2, 2], "shape[1]"),
        ([], [1], [], "shape"),
    ],
)
def test_a_region_outside_is_refused_by_its_field(
    origin: list[int], counts: list[int], steps: list[int], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        region_of((4, 5), origin, counts, steps)

    assert [violation.field for violation in refused.value.violations] == [field]
