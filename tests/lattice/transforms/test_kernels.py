"""Each transform makes what NumPy or SciPy makes, of random shapes, types and boundaries."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.ndimage as nd
from hypothesis import given, settings
from hypothesis import strategies as st

from services.lattice.kernels.transforms import (
    arithmetic,
    distances,
    permuting,
    sampling,
    spectral,
    stencils,
    windows,
)
from services.lattice.kernels.transforms.edges import Edge, Edges
from services.lattice.kernels.transforms.scratch import Array
from tests.lattice.transforms.arrays import (
    FLOATING,
    WHOLE,
    Case,
    cases,
    no_stop,
    random_array,
    same_edges,
)

few = settings(max_examples=15, deadline=None, derandomize=True)


@pytest.fixture(params=[1 << 18, 40], ids=["one-buffer", "many-buffers"], scope="module")
def _buffers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Arrays are small: with small buffers they are moved piece by piece, as large ones are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(permuting, "BUFFER_BYTES", request.param)
        yield


@pytest.mark.usefixtures("_buffers")
@few
@given(cases(), st.integers(-12, 12))
def test_moves_along_an_axis_are_those_of_numpy(case: Case, offset: int) -> None:
    axis = int(case.rng.integers(case.axes))
    reflected, moved, shifted = (case.array.copy() for _ in range(3))

    permuting.reflect(reflected, axis, no_stop())
    permuting.translate(moved, axis, offset, no_stop())
    permuting.shift(shifted, axis, offset, 7, no_stop())

    along = [offset if each == axis else 0 for each in range(case.axes)]
    expected = nd.shift(case.array.astype(float), along, order=0, cval=7)
    np.testing.assert_array_equal(reflected, np.flip(case.array, axis))
    np.testing.assert_array_equal(moved, np.roll(case.array, offset, axis))
    np.testing.assert_array_equal(shifted, expected.astype(case.array.dtype))


@pytest.mark.usefixtures("_buffers")
@few
@given(cases(axes_max=3), st.integers(-7, 7), st.integers(1, 7))
def test_turns_of_equal_axes_are_those_of_numpy(case: Case, turns: int, length: int) -> None:
    array = random_array(case.rng, (length, *case.array.shape, length), case.array.dtype.name)
    last = array.ndim - 1
    turned, swapped = array.copy(), array.copy()

    permuting.quarter_turns(turned, 0, last, turns, no_stop())
    permuting.transpose(swapped, (last, *range(1, last), 0), no_stop())

    np.testing.assert_array_equal(turned, np.rot90(array, turns, (0, last)))
    np.testing.assert_array_equal(swapped, array.swapaxes(0, last))


@pytest.mark.usefixtures("_buffers")
@few
@given(cases(axes_max=3), st.integers(-9, 9), st.integers(1, 9), st.booleans())
def test_a_shear_rolls_each_place_by_its_own(
    case: Case, factor: int, length: int, first: bool
) -> None:
    array = np.stack([case.array + case.array.dtype.type(k) for k in range(length)])
    axis, by = (1, 0) if first else (0, 1)
    sheared = array.copy()

    permuting.shear(sheared, axis, by, factor, no_stop())

    rolled = [
        np.roll(np.take(array, place, by), factor * place, 0) for place in range(array.shape[by])
    ]
    np.testing.assert_array_equal(sheared, np.stack(rolled, by))


@few
@given(cases(WHOLE), st.integers(-(2**63), 2**63 - 1))
def test_whole_numbers_wrap_around(case: Case, number: int) -> None:
    product, total, back = (case.array.copy() for _ in range(3))
    bits = 8 * case.array.itemsize

    arithmetic.multiply(product, number, no_stop())
    arithmetic.add_whole(total, number, no_stop())
    arithmetic.multiply(back, number | 1, no_stop())
    arithmetic.multiply(back, arithmetic.inverse_factor(number | 1, bits), no_stop())

    exact = case.array.astype(object)
    unsigned = np.dtype(f"u{case.array.itemsize}")
    for actual, expected in ((product, exact * number), (total, exact + number)):
        wrapped = (expected % (1 << bits)).astype(unsigned)
        np.testing.assert_array_equal(actual.view(unsigned), wrapped)
    np.testing.assert_array_equal(back, case.array)


@few
@given(cases(), st.floats(-9, 9), st.floats(-300, 300))
def test_numbers_are_rounded_and_kept_within_their_type(
    case: Case, factor: float, offset: float
) -> None:
    scaled = case.array.copy()

    lost = arithmetic.scale(scaled, factor, offset, no_stop())

    exact = case.array.astype(np.float64) * factor + offset
    if case.array.dtype.kind == "f":
        np.testing.assert_array_equal(scaled, exact.astype(case.array.dtype))
        return
    bounds = np.iinfo(case.array.dtype)
    inside = np.clip(np.rint(exact), bounds.min, bounds.max)
    np.testing.assert_array_equal(scaled, inside.astype(case.array.dtype))
    assert lost == (np.rint(exact) != inside).sum()


@few
@given(cases(FLOATING), st.sampled_from(WHOLE + FLOATING))
def test_a_conversion_counts_what_does_not_fit(case: Case, dtype: str) -> None:
    case.array.flat[0] = np.nan
    case.array.flat[-1] = np.inf

    made, lost = arithmetic.convert(case.array, np.dtype(dtype), no_stop())

    kept = np.isfinite(case.array)
    if np.dtype(dtype).kind == "f":
        np.testing.assert_array_equal(made, case.array.astype(dtype))
        return
    bounds = np.iinfo(dtype)
    exact = np.clip(np.rint(case.array[kept].astype(float)), bounds.min, bounds.max)
    np.testing.assert_array_equal(made[kept], exact.astype(dtype))
    assert made.flat[-1] == bounds.max
    assert lost >= (~kept).sum()


@pytest.mark.parametrize(
    ("numbers", "low", "high", "expected"),
    [
        ([-1.7e308, 0.0, 1.7e308, np.inf, np.nan], 0.0, 1.0, [0.0, 0.5, 1.0, 1.0, np.nan]),
        ([0.0, 5e-324, 1e-323], 0.0, 1.0, [0.0, 0.5, 1.0]),
        ([1.0, 2.0, 3.0], -1.7e308, 1.7e308, [-1.7e308, 0.0, 1.7e308]),
    ],
    ids=["far apart", "hardly apart", "to far apart"],
)
def test_numbers_are_spread_however_far_they_are_apart(
    numbers: list[float], low: float, high: float, expected: list[float]
) -> None:
    array = np.array(numbers)

    arithmetic.normalise(array, low, high, no_stop())

    np.testing.assert_array_equal(array, expected)


@few
@given(cases(FLOATING))
def test_bounds_leave_nan_alone(case: Case) -> None:
    case.array.flat[0] = np.nan
    spread, stepped, clipped = (case.array.copy() for _ in range(3))

    arithmetic.normalise(spread, -1, 3, no_stop())
    arithmetic.threshold(stepped, 0.0, -2.0, 5.0, no_stop())
    arithmetic.clip(clipped, -1, 1, no_stop())

    exact = case.array.astype(np.float64)
    low, high = np.fmin.reduce(exact, axis=None), np.fmax.reduce(exact, axis=None)
    expected = -1 + 4 * (exact - low) / (high - low) if high > low else np.where(exact, -1, -1)
    expected = np.where(np.isnan(exact), np.nan, expected)
    np.testing.assert_allclose(spread, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(clipped, np.clip(case.array, -1, 1))
    steps = np.where(case.array >= 0, 5.0, -2.0)
    np.testing.assert_array_equal(stepped, np.where(np.isnan(case.array), np.nan, steps))


@pytest.mark.parametrize("shape", [(40, 50), (12, 14, 40)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_part_has_the_bits_of_the_whole_whatever_its_numbers_are(
    shape: tuple[int, ...], dtype: type[np.floating[Any]]
) -> None:
    rng = np.random.default_rng(3)
    array = rng.choice([0.5, 2.0, np.nan, -np.nan, np.inf], shape).astype(dtype)
    for begin in range(8):
        around, inside = slice(begin, begin + 4), slice(1, 3)
        part = np.ascontiguousarray(array[(around,) * len(shape)])

        whole = stencils.diffuse(array.copy(), (False,) * len(shape), 0.1, 1, no_stop())
        alone = stencils.diffuse(part, (False,) * len(shape), 0.1, 1, no_stop())

        expected = whole[(around,) * len(shape)][(inside,) * len(shape)]
        assert alone[(inside,) * len(shape)].tobytes() == expected.tobytes()


@few
@given(cases(FLOATING))
def test_differences_are_those_of_neighbours(case: Case) -> None:
    tolerance = 1e-3 if case.array.dtype == np.float32 else 1e-10
    array = case.array.astype(np.float64)
    expected = np.zeros(array.shape)
    for axis, ring in enumerate(case.rings):
        mode = "wrap" if ring and array.shape[axis] > 2 else "nearest"
        expected += nd.correlate1d(array, [1, -2, 1], axis, mode=mode)

    actual = stencils.laplacian(case.array.copy(), case.rings, no_stop())
    stepped = stencils.diffuse(case.array.copy(), case.rings, 0.1, 1, no_stop())

    np.testing.assert_allclose(actual, expected, atol=tolerance)
    np.testing.assert_allclose(stepped, array + 0.1 * expected, atol=tolerance)


@few
@given(cases(("float64",), axes_max=3))
def test_a_slope_is_the_gradient_of_numpy(case: Case) -> None:
    array = np.pad(case.array, 1, mode="linear_ramp")

    actual = stencils.gradient_magnitude(array, (False,) * array.ndim, no_stop())

    slopes = np.gradient(array) if array.ndim > 1 else [np.gradient(array)]
    np.testing.assert_allclose(actual, np.sqrt(sum(each**2 for each in slopes)), atol=1e-10)


@few
@given(cases(("float64",), axes_max=3), st.floats(0.01, 3))
def test_exact_diffusion_is_what_many_small_steps_come_to(case: Case, time: float) -> None:
    flown = case.array.copy()

    spectral.diffuse_exactly(flown, case.rings, time, no_stop())

    small = stencils.diffuse(case.array.copy(), case.rings, time / 1000, 1000, no_stop())
    np.testing.assert_allclose(flown, small, atol=0.02 * np.abs(case.array).max())
    np.testing.assert_allclose(flown.sum(), case.array.sum(), atol=1e-9)


def test_sums_beyond_doubles_are_no_numbers_on_every_path() -> None:
    array, weights = np.ones((6, 7)), np.full((3, 3), 1.7e308)
    edges = Edges((Edge.NEAREST,) * 2)

    direct, _ = windows.convolve(array, weights, edges, no_stop())
    by_modes, _ = spectral.convolve(array, weights, edges, no_stop())

    assert not np.isfinite(direct).any()
    assert not np.isfinite(by_modes).any()


def test_exact_diffusion_for_ever_leaves_the_mean() -> None:
    array = np.arange(12.0).reshape(3, 4)

    spectral.diffuse_exactly(array, (True, False), 1.7e308, no_stop())

    np.testing.assert_allclose(array, 5.5)


@few
@given(cases(("int32", "float64"), axes_max=3))
def test_sums_of_weights_are_those_of_scipy(case: Case) -> None:
    edges, mode = same_edges(case)
    weights = case.rng.normal(size=case.rng.choice([1, 3, 5], case.axes))

    direct, _ = windows.convolve(case.array, weights, edges, no_stop())
    by_modes, _ = spectral.convolve(case.array, weights, edges, no_stop())

    expected = nd.convolve(case.array.astype(float), weights, mode=mode, cval=3.0)
    tolerance = 0.51 if case.array.dtype.kind == "i" else 1e-9
    np.testing.assert_allclose(direct, expected, atol=tolerance)
    np.testing.assert_allclose(by_modes, expected, atol=tolerance)


@few
@given(cases(axes_max=3))
def test_medians_are_those_of_scipy(case: Case) -> None:
    edges, mode = same_edges(case)
    lengths = tuple(int(each) for each in case.rng.choice([1, 3, 5], case.axes))

    actual = windows.median(case.array, lengths, edges, no_stop())

    expected = nd.median_filter(case.array, size=lengths, mode=mode, cval=3)
    np.testing.assert_array_equal(actual, expected)


@few
@given(cases(axes_max=3), st.integers(1, 3), st.booleans(), st.booleans())
def test_erosion_and_dilation_are_those_of_scipy(
    case: Case, radius: int, moore: bool, ring: bool
) -> None:
    rings, mode = (ring,) * case.axes, "grid-wrap" if ring else "nearest"
    cross = nd.generate_binary_structure(case.axes, case.axes if moore else 1)
    footprint = nd.iterate_structure(cross, radius)

    low = windows.erode(case.array.copy(), rings, radius, no_stop(), moore=moore)
    high = windows.dilate(case.array.copy(), rings, radius, no_stop(), moore=moore)

    mode = "wrap" if ring else mode
    expected = nd.grey_erosion(case.array, footprint=footprint, mode=mode)
    np.testing.assert_array_equal(low, expected)
    expected = nd.grey_dilation(case.array, footprint=footprint, mode=mode)
    np.testing.assert_array_equal(high, expected)


@few
@given(cases(("float64",), axes_max=3), st.booleans())
def test_what_is_read_elsewhere_is_that_of_scipy(case: Case, linear: bool) -> None:
    edges, mode = same_edges(case)
    factors = case.rng.uniform(0.4, 3, case.axes)
    origin = case.rng.uniform(-1, 2, case.axes)
    matrix = np.eye(case.axes) + case.rng.normal(0, 0.3, (case.axes, case.axes))

    stretched, _ = sampling.resample(
        case.array, factors.tolist(), origin.tolist(), edges, no_stop(), linear=linear
    )
    led, _ = sampling.affine(case.array, matrix, origin, edges, no_stop(), linear=linear)

    options = {"order": int(linear), "mode": mode, "cval": 3.0, "prefilter": False}
    expected = nd.affine_transform(case.array, 1 / factors, origin, **options)
    np.testing.assert_allclose(stretched, expected, atol=1e-9)
    expected = nd.affine_transform(case.array, matrix, origin, **options)
    np.testing.assert_allclose(led, expected, atol=1e-9)


@few
@given(cases(("float64",), axes_max=2), st.floats(1, 179), st.integers(2, 6), st.booleans())
def test_a_turned_plane_is_that_of_scipy(
    case: Case, degrees: float, length: int, linear: bool
) -> None:
    array = case.rng.normal(size=(length, *case.array.shape, length + 1))
    edges, mode = same_edges(Case(array, (), case.rng))
    plane = (0, array.ndim - 1)

    actual, _ = sampling.rotate(array, plane, degrees, edges, no_stop(), linear=linear)

    options = {"order": int(linear), "mode": mode, "cval": 3.0, "prefilter": False}
    expected = nd.rotate(array, degrees, axes=plane[::-1], reshape=False, **options)
    # A place that lies in the middle of two sites may be rounded to either.
    assert np.isclose(actual, expected, atol=1e-9).mean() > 0.9


@few
@given(cases(("uint8", "float64"), axes_max=3), st.booleans())
def test_distances_are_those_of_scipy(case: Case, ring: bool) -> None:
    array: Array = (case.array > 20).astype(np.float64)
    array.flat[0] = 0.0
    around = np.tile(array, (3,) * case.axes) if ring else array
    middle = tuple(slice(n, 2 * n) if ring else slice(None) for n in array.shape)
    rings = (ring,) * case.axes

    straight, _ = distances.distances(array.copy(), rings, no_stop(), euclidean=True)
    steps, _ = distances.distances(array.copy(), rings, no_stop(), euclidean=False)

    expected = nd.distance_transform_edt(around)[middle]
    np.testing.assert_array_equal(straight, expected)
    expected = nd.distance_transform_cdt(around, "taxicab")[middle]
    np.testing.assert_array_equal(steps, expected)


@few
@given(cases(FLOATING, axes_max=3), st.booleans())
def test_modes_are_those_of_numpy(case: Case, inverse: bool) -> None:
    array = case.array + 1j * case.array[..., ::-1]
    actual = array.copy()

    spectral.fourier(actual, no_stop(), inverse=inverse)

    expected = (np.fft.ifftn if inverse else np.fft.fftn)(array)
    tolerance = 1e-3 if array.dtype == np.complex64 else 1e-9
    np.testing.assert_allclose(actual, expected, atol=tolerance * np.abs(array).sum())


def test_what_is_nowhere_0_is_infinitely_far() -> None:
    far, _ = distances.distances(np.ones((3, 3)), (False, True), no_stop(), euclidean=True)
    full, lost = distances.distances(
        np.ones((2, 2), np.uint8), (False, False), no_stop(), euclidean=True
    )

    assert np.isinf(far).all()
    assert (full == 255).all() and lost == 4  # noqa: PT018


def test_filled_edges_are_seen_by_all_who_look_there() -> None:
    array = np.zeros((3, 3))
    edges = same_edges(Case(array, (), np.random.default_rng(0)))[0]
    filled = type(edges)((Edge.FILL, Edge.FILL), 9.0)

    summed, _ = windows.convolve(array, np.ones((3, 3)), filled, no_stop())

    assert summed[0, 0] == 5 * 9.0
    assert summed[1, 1] == 0.0
