"""Chains by boxes: every bit as if all numbers had been there; what needs them all is named."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.lattice.arrays.chunking import Chunking
from services.lattice.arrays.number_type import NumberType
from services.lattice.distributed.boxes import Box, cut
from services.lattice.errors import WorkTooLarge
from services.lattice.kernels.transforms.arithmetic import finite_bounds
from services.lattice.kernels.transforms.edges import Edge
from services.lattice.kernels.transforms.scratch import Scratch
from services.lattice.transforms import frequencies, moving, neighbours, numbers, passes, sampling
from services.lattice.transforms.chain import Chain
from services.lattice.transforms.passes import Pass, passes_of
from services.lattice.transforms.step import EdgeChoice, Step
from tests.lattice.transforms.arrays import Case, cases, fit_of, random_array, reversible_steps

GO = np.zeros(1, np.uint8)
CHUNK_BYTES = 64
BOX_BYTES = 1 << 26


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of some numbers, so that small arrays have many, and boxes of one chunk each."""
    monkeypatch.setattr(Chunking.of.__func__, "__defaults__", (CHUNK_BYTES,))  # type: ignore[attr-defined]
    monkeypatch.setattr(passes, "block_lengths", lambda chunking, _fits: chunking.chunk_shape)


def read(array: np.ndarray, box: Box) -> np.ndarray:
    window = np.empty(box.shape, array.dtype)
    for places, region in box.pieces(array.shape):
        begins = zip(region.origin, region.shape, strict=True)
        window[places] = array[tuple(slice(at, at + length) for at, length in begins)]
    return window


def passed(work: Pass, array: np.ndarray, taken: list[Any]) -> np.ndarray:
    if work.needs_bounds:
        work = work.with_bounds(finite_bounds(array, Scratch(GO)) or (0.0, 0.0))
    made = np.empty(array.shape, work.behind.number_type.dtype)
    for box in cut(array.shape, work.lengths):
        part, took = work.apply(read(array, work.window(box)), box, GO)
        made[box.inside(Box((0,) * array.ndim, array.shape))] = part
        taken += took
    return made


def by_boxes(chain: Chain, array: np.ndarray) -> tuple[np.ndarray, list[int], int]:
    """What comes out, how many numbers did not fit each step, and in how many boxes."""
    taken: list[Any] = []
    boxes = 0
    for work in passes_of(chain, BOX_BYTES):
        boxes += len(list(cut(array.shape, work.lengths)))
        array = passed(work, array, taken)
    counts = [
        sum(each.clamped_count for each in taken if each.step == number)
        for number in range(len(chain.steps))
    ]
    return array, counts, boxes


def check(chain: Chain, array: np.ndarray) -> int:
    expected, reports = chain.apply(array.copy(), GO)

    actual, counts, boxes = by_boxes(chain, array)

    assert actual.dtype == expected.dtype
    assert actual.tobytes() == expected.tobytes()
    assert counts == [report.clamped_count for report in reports]
    return boxes


def any_steps(draw: Any, case: Case) -> list[Step]:
    axes = case.axes
    edges = EdgeChoice(draw(st.sampled_from([None, *Edge])), 1.0)
    lengths = tuple(draw(st.sampled_from([1, 3, 5])) for _ in range(axes))
    weights = tuple(case.rng.normal(size=int(np.prod(lengths))))
    small = int(np.prod(lengths)) <= 75
    radius = draw(st.integers(1, 3))
    steps: list[Step] = [
        numbers.Scale(1.7, -3.0),
        numbers.Normalise(-50.0, 300.0),
        numbers.Threshold(1.0, 0.0, 900.0),
        numbers.Clip(-5.0, 70000.0),
        numbers.Convert(draw(st.sampled_from(NumberType))),
        neighbours.Erode(radius, moore=draw(st.booleans())),
        neighbours.Dilate(radius, moore=draw(st.booleans())),
        neighbours.Laplacian(),
        neighbours.GradientMagnitude(),
        neighbours.Diffuse(0.9 / (2 * axes), draw(st.integers(1, 6))),
        moving.Shift(tuple(draw(st.integers(-9, 9)) for _ in range(axes)), 1.0),
        neighbours.Convolve(lengths, weights, edges) if small else neighbours.Laplacian(),
        neighbours.Median(lengths, edges) if small else neighbours.Laplacian(),
    ]
    return [draw(st.sampled_from(steps)) for _ in range(draw(st.integers(1, 4)))]


@st.composite
def chains(draw: Any) -> tuple[Chain, np.ndarray]:
    case = draw(cases(axes_max=3))
    steps = any_steps(draw, case)
    if draw(st.booleans()):
        moves = reversible_steps(case.rng, case.fit, 2)
        steps = [*(each for each in moves if not isinstance(each, moving.Shear)), *steps]
    return Chain.of(steps, case.fit), case.array


@settings(max_examples=60, deadline=None, derandomize=True)
@given(chains())
def test_every_bit_is_as_if_all_numbers_had_been_there(made: tuple[Chain, np.ndarray]) -> None:
    check(*made)


OWN = EdgeChoice(None, 0.0)
NAMED: dict[str, list[Step]] = {
    "a ring of two joins them once": [neighbours.Laplacian()],
    "rings and ends in turns": [
        neighbours.Convolve((1, 3, 3), (0.5,) * 9, EdgeChoice(Edge.WRAP, 0.0)),
        neighbours.GradientMagnitude(),
        neighbours.Median((1, 3, 3), EdgeChoice(Edge.NEAREST, 0.0)),
    ],
    "a quarter": [moving.QuarterTurns(1, 2, 1)],
    "a half": [moving.QuarterTurns(1, 2, 2)],
    "three quarters": [moving.QuarterTurns(1, 2, 3)],
    "axes exchanged": [moving.Transpose((0, 2, 1))],
    "an axis turned around": [moving.Reflect((2,))],
    "filled": [moving.Shift((1, -2, 9), 3.0)],
    "filled, far": [moving.Shift((-(1 << 63), 1, 1 << 62), 3.0)],
    "moved, far": [moving.Translate((-(1 << 63), 1, 1 << 62))],
    "a key": [moving.XorKey(b"abcde")],
    "a seed": [moving.XorKey(b"", 7)],
    "bounds of all": [neighbours.Laplacian(), numbers.Normalise(0.0, 9.0), numbers.Scale(3.0, 0.0)],
    "two rounded": [neighbours.Diffuse(0.1, 2), numbers.Convert(NumberType.UINT8)],
}


@pytest.mark.parametrize("dtype", ["float64", "float32", "int16"])
@pytest.mark.parametrize("name", NAMED)
def test_a_chain_by_boxes_is_the_chain(name: str, dtype: str) -> None:
    array = random_array(np.random.default_rng(3), (2, 7, 7), dtype)

    boxes = check(Chain.of(NAMED[name], fit_of(array, (True, True, False))), array)

    assert boxes >= 4


WHOLE_ALONE: dict[str, Step] = {
    "rotate": sampling.Rotate(0, 1, 30.0, linear=True, edges=OWN),
    "shear": moving.Shear(0, 1, 3),
    "distance_transform": neighbours.DistanceTransform(euclidean=True),
    "diffuse_exactly": frequencies.DiffuseExactly(2.0),
    "convolve": neighbours.Convolve((11, 11), (1.0,) * 121, OWN),
}


@pytest.mark.parametrize("name", WHOLE_ALONE)
def test_what_needs_all_numbers_at_once_is_named(name: str) -> None:
    fit = fit_of(np.zeros((20, 20)), (False, True))
    chain = Chain.of([numbers.Scale(2.0, 0.0), WHOLE_ALONE[name]], fit)

    with pytest.raises(WorkTooLarge) as refused:
        passes_of(chain, BOX_BYTES)

    assert refused.value.metadata["transform"] == name
    assert refused.value.metadata["step"] == 1
    assert refused.value.metadata["limit"] == BOX_BYTES


def test_many_steps_of_diffusion_are_several_passes_of_boxes_that_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    array = np.broadcast_to(np.float32(0), (1000, 1000, 1000))
    chain = Chain.of([neighbours.Diffuse(0.1, 40)], fit_of(array, (True, True, True)))

    actual = passes_of(chain, 1 << 29)

    steps = [part.step for each in actual for part in each.parts]
    assert sum(step.steps for step in steps if isinstance(step, neighbours.Diffuse)) == 40
    assert len(actual) > 1
    for each in actual:
        planes = each.lengths[0] + 2 * each.reach.lengths[0]
        assert 4_000_000 * (planes + 3) < 1 << 29
        assert planes <= 2 * each.lengths[0]
