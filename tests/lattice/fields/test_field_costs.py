"""Sites cost what a field of the lattice says: in every call that takes costs."""

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from girih.lattice.v1 import costs_pb2, paths_pb2, structure_pb2
from girih.lattice.v1.paths_pb2_grpc import PathServiceStub
from girih.lattice.v1.structure_pb2_grpc import StructureServiceStub
from tests.lattice.fields.caller import Fields
from tests.lattice.serving import Client, refusal, site

SHAPE = (9, 11)
NUMBERS = np.random.default_rng(seed=3).integers(1, 100, SHAPE)
START, GOAL = [0, 0], [8, 10]


def brought(values: np.ndarray) -> costs_pb2.SiteCosts:
    numbers = values.astype(np.float64).tobytes()
    return costs_pb2.SiteCosts(values=numbers, type=costs_pb2.COST_TYPE_FLOAT64)


async def answers(
    client: Client, lattice_id: str, costs: costs_pb2.SiteCosts
) -> AsyncIterator[tuple[str, Any]]:
    """What every call that takes costs answers, first messages without what it took."""
    paths, structure = PathServiceStub(client.channel), StructureServiceStub(client.channel)
    ask: dict[str, Any] = {"lattice_id": lattice_id, "costs": costs}
    ends: dict[str, Any] = {"start": site(START), "goal": site(GOAL)}
    stops = [paths_pb2.Stop(sites=[site(at)]) for at in (START, [0, 10], GOAL)]
    responses: list[Any] = [
        await client.find_path(lattice_id, START, GOAL, costs=costs),
        *await client.find_paths(lattice_id, [(START, GOAL)], costs=costs),
        *await client.distances(lattice_id, sources=[site(START)], costs=costs),
    ]
    route = paths_pb2.FindRouteRequest(stops=stops, **ask)
    responses.append(await paths.FindRoute(route, metadata=client.metadata))
    simple = paths_pb2.SimplePathsRequest(length_max=400, paths_max=3, **ends, **ask)
    near = paths_pb2.ReachableRequest(sources=[site(START)], length_max=200, **ask)
    nearest = paths_pb2.NearestSourcesRequest(sources=[site(START), site(GOAL)], k=2, **ask)
    tree = structure_pb2.MinimumSpanningTreeRequest(list_edges=True, **ask)
    for stream in (
        paths.SimplePaths(simple, metadata=client.metadata),
        paths.Reachable(near, metadata=client.metadata),
        paths.NearestSources(nearest, metadata=client.metadata),
        structure.MinimumSpanningTree(tree, metadata=client.metadata),
    ):
        responses += [message async for message in stream][:1]
    for message in responses:
        digest = message.computation.costs_digest
        message.ClearField("computation")
        yield digest, message


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "float32", "float64"])
async def test_costs_of_a_field_are_those_of_its_numbers_and_its_digest_is_told(
    client: Client, dtype: str
) -> None:
    lattice_id = (await client.create(shape=SHAPE)).lattice_id
    field = await Fields(client).write(lattice_id, "toll", NUMBERS.astype(dtype))
    costs = costs_pb2.SiteCosts(field="toll")

    by_field = [answer async for answer in answers(client, lattice_id, costs)]
    by_values = [answer async for answer in answers(client, lattice_id, brought(NUMBERS))]

    assert len(by_field) == 8
    assert {digest for digest, _ in by_field} == {field.digest}
    assert {digest for digest, _ in by_values} == {""}
    assert [message for _, message in by_field] == [message for _, message in by_values]
    assert await client.computes_nothing()


@pytest.mark.parametrize(
    ("numbers", "costs", "field"),
    [
        (np.full(SHAPE, -1, np.int32), {"field": "toll"}, "costs.field"),
        (np.full(SHAPE, np.nan), {"field": "toll"}, "costs.field"),
        (np.full(SHAPE, np.inf, np.float32), {"field": "toll"}, "costs.field"),
        (NUMBERS, {"field": "toll", "values": bytes(99), "type": 1}, "costs.values"),
        (NUMBERS, {"field": "toll", "type": 1}, "costs.type"),
        (NUMBERS, {"field": "no name"}, "costs.field"),
        (NUMBERS, {}, "costs.values"),
    ],
)
async def test_costs_of_a_field_that_make_no_sense_are_refused(
    client: Client, numbers: np.ndarray, costs: dict[str, Any], field: str
) -> None:
    lattice_id = (await client.create(shape=SHAPE)).lattice_id
    await Fields(client).write(lattice_id, "toll", numbers)
    asked = costs_pb2.SiteCosts(**costs)

    wrong = await refusal(client.find_path(lattice_id, START, GOAL, costs=asked))

    assert wrong.reason == "INVALID_INPUT"
    assert field in [violation.field for violation in wrong.violations]


async def test_costs_of_a_field_that_there_is_none_of_are_not_found(client: Client) -> None:
    lattice_id = (await client.create(shape=SHAPE)).lattice_id
    costs = costs_pb2.SiteCosts(field="toll")

    wrong = await refusal(client.find_path(lattice_id, START, GOAL, costs=costs))

    assert wrong.reason == "FIELD_NOT_FOUND"


async def test_what_a_blocked_site_has_in_the_field_does_not_matter(client: Client) -> None:
    lattice_id = (await client.create(shape=[2, 3], blocked=bytes([0b000010]))).lattice_id
    await Fields(client).write(lattice_id, "toll", np.array([[1, -5, 1], [1, 2, 1]]))

    answer = await client.find_path(
        lattice_id, [0, 0], [0, 2], costs=costs_pb2.SiteCosts(field="toll")
    )

    assert answer.path.length == 5
