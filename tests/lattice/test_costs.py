"""Site costs over gRPC: what is taken, what is refused, and what comes of them."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from girih.lattice.v1 import costs_pb2
from girih.lattice.v1 import lattice_pb2 as pb
from tests.lattice.kernels.reference import Plain
from tests.lattice.serving import Client, refusal, site

TYPES = {
    "uint8": costs_pb2.COST_TYPE_UINT8,
    "uint16": costs_pb2.COST_TYPE_UINT16,
    "float32": costs_pb2.COST_TYPE_FLOAT32,
    "float64": costs_pb2.COST_TYPE_FLOAT64,
}


def site_costs(
    values: NDArray[Any], rule: costs_pb2.CostRule = costs_pb2.COST_RULE_ENTERING
) -> Any:
    return costs_pb2.SiteCosts(values=values.tobytes(), type=TYPES[values.dtype.name], rule=rule)


def random_values(kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    rng = np.random.default_rng(seed=5)
    return (1 + 200 * rng.random(shape)).astype(kind)


@pytest.mark.parametrize("rule", [costs_pb2.COST_RULE_ENTERING, costs_pb2.COST_RULE_MEAN])
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("moore", [False, True])
async def test_paths_and_distances_cost_what_the_plainest_search_says(
    client: Client, kind: str, moore: bool, rule: costs_pb2.CostRule
) -> None:
    blocked = np.random.default_rng(seed=1).random((12, 17)) < 0.2
    blocked[0, 0] = blocked[11, 16] = False
    values = random_values(kind, blocked.shape)
    lattice = await client.create(
        shape=blocked.shape,
        blocked=np.packbits(blocked, bitorder="little").tobytes(),
        neighbourhood=pb.NEIGHBOURHOOD_MOORE if moore else pb.NEIGHBOURHOOD_VON_NEUMANN,
    )
    plain = Plain(blocked, (False, False), moore, no_cutting=True)
    expected = plain.costly_distances(
        values.astype(np.float64), [(0, 0)], mean=rule == costs_pb2.COST_RULE_MEAN
    )
    ends = [([0, 0], [11, 16]), ([0, 0], [0, 0])]

    path = await client.find_path(lattice.lattice_id, *ends[0], costs=site_costs(values, rule))
    batches = await client.find_paths(lattice.lattice_id, ends, costs=site_costs(values, rule))
    (field,) = await client.distances(
        lattice.lattice_id, sources=[site([0, 0])], costs=site_costs(values, rule)
    )

    assert path.computation.method == pb.METHOD_DIJKSTRA
    assert path.computation.exact
    assert path.path.length == pytest.approx(expected[11, 16], rel=1e-12)
    lengths = [one.length for batch in batches for one in batch.paths]
    assert lengths == [path.path.length, 0]
    for at, length in zip(plain.sites(), field.distances, strict=True):
        assert length == pytest.approx(expected.get(at, -1), rel=1e-12)


async def test_a_free_lattice_has_cheapest_paths_too(client: Client) -> None:
    lattice = await client.create(shape=[3, 5])
    values = np.array([[1, 9, 9, 9, 1], [1, 9, 1, 9, 1], [1, 1, 1, 1, 1]], np.uint8)

    answer = await client.find_path(lattice.lattice_id, [0, 0], [0, 4], costs=site_costs(values))

    assert (answer.path.length, answer.path.steps) == (8, 8)
    assert list(answer.path.sites)[:6] == [0, 0, 1, 0, 2, 0]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (np.ones((3, 4), np.uint8), "costs.values"),
        (np.ones((3, 6), np.uint8), "costs.values"),
        (np.full((3, 5), np.nan), "costs.values"),
        (np.full((3, 5), -1, np.float32), "costs.values"),
        (np.full((3, 5), np.inf, np.float32), "costs.values"),
        (np.full((3, 5), 1e308), "costs.values"),
    ],
)
async def test_costs_that_make_no_sense_are_refused(
    client: Client, values: NDArray[Any], field: str
) -> None:
    lattice = await client.create(shape=[3, 5])

    wrong = await refusal(
        client.find_path(lattice.lattice_id, [0, 0], [0, 4], costs=site_costs(values))
    )

    assert wrong.reason == "INVALID_INPUT"
    assert [violation.field for violation in wrong.violations] == [field]


async def test_costs_of_no_type_are_refused(client: Client) -> None:
    lattice = await client.create(shape=[3])
    costs = costs_pb2.SiteCosts(values=bytes(3))

    wrong = await refusal(client.find_path(lattice.lattice_id, [0], [2], costs=costs))

    assert [violation.field for violation in wrong.violations] == ["costs.type"]


async def test_what_a_blocked_site_costs_does_not_matter(client: Client) -> None:
    lattice = await client.create(shape=[2, 3], blocked=bytes([0b000010]))
    values = np.array([[1, math.nan, 1], [1, 2, 1]])

    answer = await client.find_path(lattice.lattice_id, [0, 0], [0, 2], costs=site_costs(values))

    assert answer.path.length == 5


async def test_costs_of_more_sites_than_a_grid_has_are_refused(client: Client) -> None:
    lattice = await client.create(dimensions=2, size=10**9)
    costs = site_costs(np.ones(4, np.uint8))

    wrong = await refusal(client.find_path(lattice.lattice_id, [0, 0], [1, 1], costs=costs))

    assert [violation.field for violation in wrong.violations] == ["costs"]
