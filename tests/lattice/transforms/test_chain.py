"""Chains: what is invertible comes back, reports are true, and what does not fit is named."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.lattice.arrays.number_type import NumberType
from services.lattice.errors import TransformUnfit, UnstableStep
from services.lattice.kernels.slices import Cancelled
from services.lattice.kernels.transforms.edges import Edge
from services.lattice.transforms import (
    convert,
    frequencies,
    moving,
    neighbours,
    numbers,
    sampling,
)
from services.lattice.transforms.chain import Chain
from services.lattice.transforms.step import OVERHEAD_BYTES, EdgeChoice, Fit, Invertibility, Step
from services.plumbing.errors import InvalidInput
from tests.lattice.transforms.arrays import (
    FLOATING,
    Case,
    cases,
    fit_of,
    random_array,
    reversible_steps,
)

GO = np.zeros(1, np.uint8)
OWN = EdgeChoice(None, 0.0)

EACH: dict[str, Step] = {
    "xor_key": moving.XorKey(b"key"),
    "xor_seed": moving.XorKey(b"", 7),
    "quarter_turns": moving.QuarterTurns(0, 1, 1),
    "reflect": moving.Reflect((0, 2)),
    "translate": moving.Translate((1, -2, 30)),
    "shift": moving.Shift((1, -2, 30), 3.0),
    "transpose": moving.Transpose((1, 0, 2)),
    "shear": moving.Shear(2, 0, 3),
    "scale": numbers.Scale(1.5, 2.0),
    "normalise": numbers.Normalise(0.0, 100.0),
    "threshold": numbers.Threshold(1.0, 0.0, 9.0),
    "clip": numbers.Clip(-5.0, None),
    "convert": numbers.Convert(NumberType.INT16),
    "convolve": neighbours.Convolve((3, 1, 3), (1.0,) * 9, OWN),
    "convolve_far": neighbours.Convolve((11, 11, 1), (0.5,) * 121, EdgeChoice(Edge.FILL, 1.0)),
    "median": neighbours.Median((3, 3, 1), OWN),
    "erode": neighbours.Erode(2, moore=True),
    "dilate": neighbours.Dilate(2, moore=False),
    "distance_transform": neighbours.DistanceTransform(euclidean=True),
    "distance_in_steps": neighbours.DistanceTransform(euclidean=False),
    "laplacian": neighbours.Laplacian(),
    "gradient_magnitude": neighbours.GradientMagnitude(),
    "diffuse": neighbours.Diffuse(0.1, 3),
    "rotate": sampling.Rotate(0, 2, 30.0, linear=True, edges=OWN),
    "rotate_nearest": sampling.Rotate(0, 2, 30.0, linear=False, edges=OWN),
    "resample": sampling.Resample((2.0, 0.5, 1.0), (), linear=True, edges=OWN),
    "affine": sampling.Affine((1, 0, 0.2, 0, 1, 0, 0.1, 0, 1), (), linear=True, edges=OWN),
}
OF_WHOLE = {"multiply_odd": numbers.MultiplyOdd(77), "add_whole": numbers.AddWhole(-5)}
OF_FLOATING = {
    "add": numbers.Add(0.1),
    "diffuse_exactly": frequencies.DiffuseExactly(2.0),
}
OF_COMPLEX = {
    "fourier": frequencies.Fourier(),
    "inverse_fourier": frequencies.InverseFourier(),
    "complex_scale": numbers.Scale(0.25, 0.0),
}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases(), st.integers(1, 12))
def test_what_is_undone_comes_back_bit_for_bit(case: Case, count: int) -> None:
    chain = Chain.of(reversible_steps(case.rng, case.fit, count), case.fit)
    inverse = chain.inverse()
    assert inverse is not None

    there, _ = chain.apply(case.array.copy(), GO)
    back, _ = inverse.apply(there, GO)

    assert back.tobytes() == case.array.tobytes()
    assert chain.invertibility is Invertibility.EXACT


@pytest.mark.parametrize(
    "step",
    [
        moving.QuarterTurns(0, 1, -(1 << 31)),
        moving.Translate((-(1 << 63), 1)),
        moving.Shear(0, 1, -(1 << 63)),
        numbers.AddWhole(-(1 << 63)),
    ],
    ids=lambda step: step.name,
)
def test_the_least_number_of_the_contract_is_undone(step: Step) -> None:
    array = random_array(np.random.default_rng(3), (5, 5), "int32")
    chain = Chain.of([step], fit_of(array, (True, False)))
    inverse = chain.inverse()
    assert inverse is not None
    restored = convert.steps(convert.transforms(inverse.steps))

    there, _ = chain.apply(array.copy(), GO)
    back, _ = Chain.of(restored, chain.fits[-1]).apply(there, GO)

    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_no_step_takes_more_memory_than_it_reports(dtype: str) -> None:
    array = random_array(np.random.default_rng(3), (40, 40, 60), dtype)
    fit = fit_of(array, (True, False, True))
    own = OF_WHOLE if fit.number_type.is_whole else OF_FLOATING
    for name, step in (EACH | own).items():
        if name == "median" and dtype != "uint8":
            continue
        _assert_reported(name, step, fit, array)


@pytest.mark.parametrize("shape", [(1, 300, 400), (300, 1, 400), (2, 60_000), (120_000,)])
@pytest.mark.parametrize("name", ["laplacian", "diffuse"])
def test_sums_over_neighbours_take_three_planes_and_no_more_than_the_field(
    name: str, shape: tuple[int, ...]
) -> None:
    array = random_array(np.random.default_rng(3), shape, "float64")
    fit = fit_of(array, (True,) * len(shape))

    _assert_reported(name, EACH[name], fit, array)

    bytes_max = EACH[name].cost(fit).auxiliary_bytes - OVERHEAD_BYTES
    assert bytes_max == (3 * 400 * 8 if 300 in shape else array.nbytes)


def test_no_step_takes_more_memory_on_complex_numbers() -> None:
    array = np.random.default_rng(3).normal(size=(40, 40, 30)) + 1j
    fit = Fit(
        shape=array.shape,
        periodic=(False,) * 3,
        number_type=NumberType.FLOAT64,
        is_complex=True,
    )
    for name, step in OF_COMPLEX.items():
        _assert_reported(name, step, fit, array)


def _assert_reported(name: str, step: Step, fit: Fit, array: np.ndarray) -> None:
    chain, own = Chain.of([step], fit), array.copy()
    chain.apply(array.copy(), GO)
    tracemalloc.start()
    try:
        result, (report,) = chain.apply(own, GO)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes <= report.auxiliary_bytes <= report.auxiliary_bytes_max, name
    if step.in_place:
        assert np.shares_memory(result, own), name
        assert report.auxiliary_bytes_max < 4 << 20, name
    del result


@settings(max_examples=30, deadline=None, derandomize=True)
@given(cases(FLOATING, axes_max=3), st.floats(0.01, 100), st.floats(-100, 100))
def test_what_is_invertible_within_an_error_misses_by_no_more(
    case: Case, factor: float, offset: float
) -> None:
    pairs: list[tuple[Step, Step]] = [
        (numbers.Add(offset), numbers.Add(-offset)),
        (numbers.Scale(factor, offset), numbers.Scale(1 / factor, -offset / factor)),
    ]
    for step, back in pairs:
        there, (report,) = Chain.of([step], case.fit).apply(case.array.copy(), GO)
        most = max(np.abs(there).max(), np.abs(case.array).max())
        here, _ = Chain.of([back], case.fit).apply(there.copy(), GO)

        assert np.abs(here - case.array).max() <= report.error_bound * float(most)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(cases(FLOATING, axes_max=3))
def test_modes_come_back_within_their_error(case: Case) -> None:
    array = case.array + 1j * case.array[::-1]
    fit = Fit(
        shape=array.shape,
        periodic=case.rings,
        number_type=case.fit.number_type,
        is_complex=True,
    )

    modes, (report,) = Chain.of([frequencies.Fourier()], fit).apply(array.copy(), GO)
    most = float(max(np.abs(modes).max(), np.abs(array).max()))
    back, _ = Chain.of([frequencies.InverseFourier()], fit).apply(modes, GO)

    assert np.abs(back - array).max() <= report.error_bound * most


@pytest.mark.parametrize(
    ("step", "dtype"),
    [
        (numbers.MultiplyOdd(3), "float64"),
        (numbers.AddWhole(3), "float32"),
        (numbers.Add(3.0), "uint8"),
        (frequencies.Fourier(), "float64"),
        (frequencies.DiffuseExactly(1.0), "int32"),
        (moving.QuarterTurns(0, 1, 1), "uint8"),
        (moving.Transpose((1, 0)), "uint8"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named_with_its_step(step: Step, dtype: str) -> None:
    fit = fit_of(np.zeros((3, 4), dtype), (False, False))

    with pytest.raises(TransformUnfit) as refused:
        Chain.of([moving.Reflect((0,)), step], fit)

    assert refused.value.metadata == {"step": 1, "transform": step.name}


@pytest.mark.parametrize(
    ("step", "field"),
    [
        (numbers.MultiplyOdd(4), "multiply_odd.factor"),
        (moving.Translate((1,)), "translate.offset"),
        (moving.Reflect((0, 2)), "reflect.axes[1]"),
        (moving.Reflect((0, 0)), "reflect.axes[1]"),
        (moving.QuarterTurns(1, 1, 1), "quarter_turns.column_axis"),
        (moving.Shear(1, 1, 1), "shear.by_axis"),
        (moving.Transpose((0, 0)), "transpose.axes"),
        (moving.Shift((0, 0), 256.0), "translate.fill"),
        (numbers.Scale(float("nan"), 0.0), "scale.factor"),
        (numbers.Normalise(1.0, 1.0), "normalise.high"),
        (numbers.Clip(2.0, 1.0), "clip.high"),
        (neighbours.Convolve((2, 1), (1.0, 1.0), OWN), "convolve.lengths[0]"),
        (neighbours.Convolve((3, 1), (1.0,), OWN), "convolve.weights"),
        (neighbours.Median((999, 999), OWN), "median.lengths"),
        (neighbours.Diffuse(0.0, 1), "diffuse.rate"),
        (sampling.Resample((0.0, 1.0), (), linear=False, edges=OWN), "resample.factors[0]"),
        (sampling.Affine((1, 2, 2, 4), (), linear=False, edges=OWN), "affine.matrix"),
        (sampling.Affine((1.7e308,) * 3 + (-1.7e308,), (), linear=False, edges=OWN), "affine"),
        (sampling.Rotate(0, 9, 1.0, linear=False, edges=OWN), "rotate.column_axis"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_named_by_its_field(step: Step, field: str) -> None:
    fit = fit_of(np.zeros((3, 4), np.uint8), (False, False))

    with pytest.raises(InvalidInput) as refused:
        Chain.of([step], fit)

    assert f"transforms[0].{field}" in [each.field for each in refused.value.violations]


def test_a_rate_beyond_stability_is_told_the_largest() -> None:
    fit = fit_of(np.zeros((3, 4, 5)), (False,) * 3)

    with pytest.raises(UnstableStep) as refused:
        Chain.of([neighbours.Diffuse(0.2, 1)], fit)

    assert refused.value.metadata == {"max_rate": 1 / 6}


def test_what_is_not_finite_does_not_fit_frequencies() -> None:
    array = np.array([1.0, np.nan, 2.0])
    chain = Chain.of([frequencies.DiffuseExactly(1.0)], fit_of(array, (False,)))

    with pytest.raises(TransformUnfit):
        chain.apply(array, GO)


@pytest.mark.parametrize("name", EACH)
def test_who_has_gone_is_not_computed_for(name: str) -> None:
    array = np.ones((4, 4, 4))

    with pytest.raises(Cancelled):
        Chain.of([EACH[name]], fit_of(array, (False,) * 3)).apply(array, np.ones(1, np.uint8))
