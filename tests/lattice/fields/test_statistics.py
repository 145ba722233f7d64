"""Statistics of fields are those that numpy tells of the same numbers."""

import hashlib
import math

import numpy as np
import pytest

from girih.lattice.v1 import fields_pb2 as pb
from tests.lattice.fields.caller import NUMBER_TYPES, Fields
from tests.lattice.serving import Client, refusal

SHAPE = (70, 300, 40)


@pytest.fixture
def fields(client: Client) -> Fields:
    return Fields(client)


async def statistics(
    fields: Fields, lattice_id: str, **options: object
) -> pb.GetStatisticsResponse:
    request = pb.GetStatisticsRequest(lattice_id=lattice_id, name="a", **options)  # type: ignore[arg-type]
    answer: pb.GetStatisticsResponse = await fields.stub.GetStatistics(
        request, metadata=fields.metadata
    )
    return answer


@pytest.mark.parametrize("dtype", NUMBER_TYPES)
async def test_statistics_are_those_of_numpy(fields: Fields, dtype: str) -> None:
    array = (np.random.default_rng(5).normal(100, 20, SHAPE)).astype(dtype)
    lattice_id = (await fields.client.create(shape=SHAPE)).lattice_id
    written = await fields.write(lattice_id, "a", array)

    answer = await statistics(fields, lattice_id, bins=7, steps=[2, 3, 1])

    part = array[::2, ::3]
    values = part.astype(np.float64)
    counts, edges = np.histogram(values, 7)
    assert answer.sites == part.size
    assert (answer.low, answer.high) == (part.min(), part.max())
    assert answer.mean == pytest.approx(values.mean(), rel=1e-12)
    assert answer.variance == pytest.approx(values.var(), rel=1e-12)
    assert list(answer.histogram.counts) == counts.tolist()
    np.testing.assert_allclose(answer.histogram.edges, edges)
    assert answer.content_digest == hashlib.sha256(part.tobytes()).hexdigest()
    assert answer.digest == written.digest


async def test_nan_is_counted_and_left_out(fields: Fields) -> None:
    lattice_id = (await fields.client.create(shape=[4])).lattice_id
    await fields.write(lattice_id, "a", np.array([1.0, math.nan, 3.0, math.nan]))

    some = await statistics(fields, lattice_id, bins=2)
    none = await statistics(fields, lattice_id, bins=2, origin=[1], shape=[1])

    assert (some.sites, some.nan_count, some.low, some.high) == (4, 2, 1.0, 3.0)
    assert (some.mean, some.variance, list(some.histogram.counts)) == (2.0, 1.0, [1, 1])
    assert (none.sites, none.nan_count, none.HasField("low")) == (1, 1, False)
    assert not none.HasField("histogram")


async def test_the_greatest_whole_numbers_are_told_exactly(fields: Fields) -> None:
    lattice_id = (await fields.client.create(shape=[2])).lattice_id
    await fields.write(lattice_id, "a", np.array([2**63 - 1, -(2**63)]))

    answer = await statistics(fields, lattice_id)

    assert (answer.whole_low, answer.whole_high) == (-(2**63), 2**63 - 1)


async def test_numbers_that_are_all_one_lie_in_an_interval_however_great_they_are(
    fields: Fields,
) -> None:
    lattice_id = (await fields.client.create(shape=[2])).lattice_id
    await fields.write(lattice_id, "a", np.full(2, 1e300))

    answer = await statistics(fields, lattice_id, bins=10_000)

    assert sum(answer.histogram.counts) == 2
    assert answer.histogram.edges[0] < 1e300 < answer.histogram.edges[-1]


@pytest.mark.parametrize(
    ("bounds", "edges", "counts"),
    [
        ({"low": 10.0}, [10.0, 10.5, 11.0], [1, 0]),
        ({"low": 12.0}, [12.0, 12.5, 13.0], [0, 0]),
        ({"high": 0.0}, [-1.0, -0.5, 0.0], [0, 1]),
        ({"high": -1e300}, None, [0, 0]),
    ],
)
async def test_a_histogram_begins_or_ends_where_its_caller_wants_it(
    fields: Fields, bounds: dict[str, float], edges: list[float] | None, counts: list[int]
) -> None:
    lattice_id = (await fields.client.create(shape=[4])).lattice_id
    await fields.write(lattice_id, "a", np.array([0.0, 0.3, 9.7, 10.0]))

    histogram = (await statistics(fields, lattice_id, bins=2, **bounds)).histogram

    assert list(histogram.counts) == counts
    assert histogram.edges[0] == bounds.get("low", histogram.edges[0])
    assert histogram.edges[-1] == bounds.get("high", histogram.edges[-1])
    assert edges is None or list(histogram.edges) == edges


@pytest.mark.parametrize(
    ("numbers", "bounds", "missing"),
    [
        ([1.0, math.inf], {"low": 0.0}, ["high"]),
        ([1.0, math.inf], {}, ["high"]),
        ([-math.inf, 1.0], {"high": 0.0}, ["low"]),
        ([-math.inf, math.inf], {}, ["low", "high"]),
    ],
)
async def test_of_infinite_numbers_the_bounds_must_be_given_that_would_be_infinite(
    fields: Fields, numbers: list[float], bounds: dict[str, float], missing: list[str]
) -> None:
    lattice_id = (await fields.client.create(shape=[2])).lattice_id
    await fields.write(lattice_id, "a", np.array(numbers))

    error = await refusal(statistics(fields, lattice_id, bins=2, **bounds))

    assert [violation.field for violation in error.violations] == missing


async def test_numbers_whose_range_is_no_number_are_refused(fields: Fields) -> None:
    lattice_id = (await fields.client.create(shape=[2])).lattice_id
    await fields.write(lattice_id, "a", np.array([-1.7e308, 1.7e308]))

    error = await refusal(statistics(fields, lattice_id, bins=4))

    assert [violation.field for violation in error.violations] == ["bins"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"bins": 1, "low": 2.0, "high": 2.0}, "high"),
        ({"bins": 1, "low": math.nan}, "low"),
        ({"origin": [9]}, "origin[0]"),
        ({"bins": -1}, "bins"),
        ({"bins": 10_000, "low": 1.0, "high": math.nextafter(1.0, 2.0)}, "bins"),
        ({"bins": 2, "low": -1.7e308, "high": 1.7e308}, "bins"),
        ({"bins": 10_000, "low": math.nextafter(0.0, -1.0)}, "bins"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    fields: Fields, options: dict[str, object], field: str
) -> None:
    lattice_id = (await fields.client.create(shape=[4])).lattice_id
    await fields.write(lattice_id, "a", np.zeros(4))

    error = await refusal(statistics(fields, lattice_id, **options))

    assert [violation.field for violation in error.violations] == [field]
