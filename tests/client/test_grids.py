"""Fields, routes and structure of lattices from Python, with asyncio and without."""

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from girih.client import (
    AlreadyExists,
    AsyncClient,
    Boundary,
    Client,
    Conflict,
    CornerRule,
    FieldNotFound,
    GirihError,
    InvalidRequest,
    Lattice,
    Measure,
    Neighbourhood,
    RetryPolicy,
    View,
)
from girih.client.lattices import arrays, routes
from girih.lattice.v1 import lattice_pb2, paths_pb2
from tests.authority import Authority

RETRY = RetryPolicy(timeout_s=90.0, attempt_timeout_s=90.0, pause_s_min=0.01, pause_s_max=0.1)

MAZE = np.zeros((5, 7), bool)
MAZE[1, :6] = True
MAZE[3, 1:] = True
TOLL = np.arange(35, dtype=np.int32).reshape(5, 7)


@pytest.fixture
async def girih(
    address: str, lattice_address: str, authority: Authority, tenant: str
) -> AsyncIterator[AsyncClient]:
    token = authority.token(tenant)
    async with AsyncClient(
        events=address, lattice=lattice_address, token=token, retry=RETRY
    ) as girih:
        yield girih


@pytest.fixture
def blocking(
    address: str, lattice_address: str, authority: Authority, tenant: str
) -> Iterator[Client]:
    token = authority.token(tenant)
    with Client(events=address, lattice=lattice_address, token=token, retry=RETRY) as girih:
        yield girih


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
async def test_an_array_is_read_as_it_was_written(
    girih: AsyncClient, dtype: str, order: Any
) -> None:
    lattice = await girih.lattices.create((300, 70, 9))
    array = np.random.default_rng(1).integers(0, 99, lattice.shape).astype(dtype, order=order)

    written = await girih.lattices.fields.write(lattice, "height", array)
    read = await girih.lattices.fields.read(lattice.id, "height")
    part = await girih.lattices.fields.read(
        lattice, "height", origin=(2, 3, 4), shape=(9, 8, 2), steps=(30, 7, 2)
    )

    assert (written.dtype, written.shape) == (read.dtype.name, array.shape)
    np.testing.assert_array_equal(read, array)
    np.testing.assert_array_equal(part, array[2:272:30, 3:59:7, 4:8:2])
    assert read.flags.writeable


async def test_a_region_is_written_and_the_rest_stays(girih: AsyncClient) -> None:
    lattice = await girih.lattices.create((8, 9))
    fields = girih.lattices.fields
    await fields.create(lattice, "h", "int32", 7)

    await fields.write(lattice, "h", np.ones((2, 3), np.int32), origin=(1, 2), steps=(2, 2))

    expected = np.full((8, 9), 7)
    expected[1:5:2, 2:8:2] = 1
    np.testing.assert_array_equal(await fields.read(lattice, "h"), expected)
    statistics = await fields.statistics(lattice, "h", bins=2)
    assert (statistics.low, statistics.high, sum(statistics.counts)) == (1, 7, 72)
    assert [one.name for one in await fields.list(lattice)] == ["h"]
    with pytest.raises(AlreadyExists):
        await fields.create(lattice, "h")
    await fields.delete(lattice, "h")
    with pytest.raises(FieldNotFound):
        await fields.get(lattice, "h")


async def test_arrays_that_are_none_are_refused_before_anything_is_sent(
    girih: AsyncClient,
) -> None:
    lattice = await girih.lattices.create((2, 2))

    with pytest.raises(ValueError, match="one of"):
        await girih.lattices.fields.write(lattice, "h", np.array([[{}, 1], [2, 3]]))
    with pytest.raises(ValueError, match="shape"):
        await girih.lattices.find_path(lattice, (0, 0), (1, 1), costs=np.ones((3, 2)))
    with pytest.raises(InvalidRequest) as refused:
        await girih.lattices.fields.write(lattice, "h", np.ones((3, 2)))
    assert refused.value.violations


async def test_blocked_sites_are_written_in_place(girih: AsyncClient, blocking: Client) -> None:
    lattice = await girih.lattices.create(blocked=MAZE)
    row, where = np.ones((1, 7), bool), np.zeros((1, 7), bool)
    where[0, 2:4] = True

    written = await girih.lattices.write_blocked(
        lattice, row, origin=(2, 0), where=where, expected_revision=0
    )

    expected = MAZE.copy()
    expected[2, 2:4] = True
    np.testing.assert_array_equal(await girih.lattices.blocked(lattice), expected)
    assert written.vertices == (~expected).sum()
    with pytest.raises(Conflict):
        await girih.lattices.write_blocked(lattice, row, expected_revision=0)
    with pytest.raises(ValueError, match="where must"):
        await girih.lattices.write_blocked(lattice, row, where=where.T)
    freed = await asyncio.to_thread(blocking.lattices.write_blocked, lattice.id, ~expected)
    assert freed.revision == written.revision + 1


async def test_sites_are_blocked_by_a_field(girih: AsyncClient, blocking: Client) -> None:
    lattice = await girih.lattices.create(MAZE.shape)
    await girih.lattices.fields.write(lattice, "walls", MAZE.astype("float32"))

    state = await girih.lattices.block_by_field(lattice, "walls", expected_revision=0)

    assert state.vertices == (~MAZE).sum()
    np.testing.assert_array_equal(await girih.lattices.blocked(lattice), MAZE)
    with pytest.raises(Conflict):
        await asyncio.to_thread(
            blocking.lattices.block_by_field, lattice.id, "walls", expected_revision=0
        )


async def test_pictures_show_fields_and_what_chains_would_make(
    girih: AsyncClient, blocking: Client
) -> None:
    lattice = await girih.lattices.create(TOLL.shape)
    field = await girih.lattices.fields.write(lattice, "toll", TOLL)
    pictures, view = girih.lattices.pictures, View(pixels_max=64, color_map="grey")

    preview = await pictures.preview(lattice, "toll", [{"reflect": {"axes": [0]}}], view)

    assert (preview.dtype, preview.invertibility) == ("int32", "EXACT")
    await girih.lattices.fields.write(lattice, "toll", TOLL[::-1])
    assert preview.png == await pictures.draw(lattice, "toll", view)
    before = await pictures.draw(lattice, "toll", view, at_revision=field.revision)
    assert before.startswith(b"\x89PNG")
    assert before != preview.png
    assert before == await asyncio.to_thread(
        blocking.lattices.pictures.draw, lattice, "toll", view, at_revision=field.revision
    )
    with pytest.raises(ValueError, match="no step"):
        await pictures.preview(lattice, "toll", [{"nonsense": {}}])
    with pytest.raises(InvalidRequest):
        await pictures.draw(lattice, "toll", View(row_axis=5))
    with pytest.raises(GirihError) as missing:
        await pictures.job("00000000-0000-7000-8000-000000000000")
    assert missing.value.reason == "JOB_NOT_FOUND"


async def test_costs_are_a_field_or_an_array(girih: AsyncClient) -> None:
    lattice = await girih.lattices.create(TOLL.shape)
    written = await girih.lattices.fields.write(lattice, "toll", TOLL)
    ends = ((0, 0), (4, 6))

    by_field = await girih.lattices.find_path(lattice, *ends, costs="toll")
    by_array = await girih.lattices.find_path(lattice, *ends, costs=TOLL)
    (batch,) = [one async for one in girih.lattices.find_paths(lattice, [ends], costs="toll")]
    distances = await girih.lattices.distances(lattice, [(0, 0)], costs="toll", cost_rule="mean")

    assert by_field.length == by_array.length == batch.length == 6 * 7 / 2 + sum([13, 20, 27, 34])
    assert by_field.computation.costs_digest == written.digest
    assert by_array.computation.costs_digest == ""
    assert distances[4, 6] == by_field.length - 34 / 2


Ask = Callable[[Client, Lattice], Any]
QUESTIONS: dict[str, Ask] = {
    "route": lambda g, on: g.lattices.routes.route(on, [[(0, 0)], [(2, 3)], [(4, 6)]]),
    "count": lambda g, on: g.lattices.routes.count(on, (0, 0), (4, 6)),
    "simple": lambda g, on: list(g.lattices.routes.simple(on, (0, 0), (0, 6), length_max=6)),
    "reachable": lambda g, on: g.lattices.routes.reachable(on, [(0, 0)], 3.0),
    "nearest": lambda g, on: g.lattices.routes.nearest(on, [(0, 0), (4, 6)], 2),
    "degrees": lambda g, on: g.lattices.structure.degrees(on),
    "components": lambda g, on: g.lattices.structure.components(on),
    "labels": lambda g, on: g.lattices.structure.labels(on, origin=(1, 0)),
    "centrality": lambda g, on: g.lattices.structure.centrality(on, "betweenness"),
    "most_central": lambda g, on: g.lattices.structure.most_central(on, Measure.CLOSENESS, 2),
    "extent": lambda g, on: g.lattices.structure.extent(on),
    "spectrum": lambda g, on: g.lattices.structure.spectrum(on, 2),
    "heat": lambda g, on: g.lattices.structure.heat(on, (0, 0), 1.5),
    "resistances": lambda g, on: g.lattices.structure.resistances(on, [((0, 0), (4, 6))]),
    "spanning_trees": lambda g, on: g.lattices.structure.spanning_trees(on),
    "tree": lambda g, on: g.lattices.structure.minimum_spanning_tree(on, list_edges=True),
    "colouring": lambda g, on: g.lattices.structure.colouring(on),
    "communities": lambda g, on: g.lattices.structure.communities(on),
    "percolation": lambda g, on: g.lattices.structure.percolation(on, [0.5], runs=2),
}


async def test_a_corridor_is_told_of_in_every_way(blocking: Client) -> None:
    # The free sites of the maze are one corridor of 23 sites.
    on = await asyncio.to_thread(blocking.lattices.create, blocked=MAZE)

    answers = {name: await asyncio.to_thread(ask, blocking, on) for name, ask in QUESTIONS.items()}

    assert (answers["route"].length, [leg.goal for leg in answers["route"].legs]) == (22, [0, 0])
    assert (answers["count"].count, answers["count"].length) == (1, 22)
    assert [path.sites[-1].tolist() for path in answers["simple"]] == [[0, 6]]
    assert answers["reachable"].sites.tolist() == [[0, 0], [0, 1], [0, 2], [0, 3]]
    assert answers["nearest"].sources[4, 0].tolist() == [1, 0]
    assert math.isinf(answers["nearest"].distances[1, 0, 0])
    assert answers["degrees"] == {1: 2, 2: 21}
    assert (answers["components"].count, answers["components"].largest[0].size) == (1, 23)
    assert answers["labels"].values.tolist() == np.where(MAZE[1:], -1, 0).tolist()
    assert answers["centrality"].values.max() == 11 * 11
    assert answers["most_central"].sites[0].tolist() == [2, 3]
    assert (answers["extent"].diameter, answers["extent"].radius) == (22, 11)
    assert answers["spectrum"].gap == pytest.approx(2 - 2 * math.cos(math.pi / 23))
    assert answers["heat"].values.sum() == pytest.approx(1)
    assert answers["resistances"].tolist() == pytest.approx([22])
    assert answers["spanning_trees"].log_count == pytest.approx(0, abs=1e-9)
    assert (answers["tree"].edge_count, answers["tree"].edges.shape) == (22, (22, 2))
    assert answers["colouring"].count == 2
    assert answers["communities"].labels.shape == MAZE.shape
    assert 0 <= answers["percolation"].probabilities[0] <= 1


async def test_both_clients_ask_the_same(girih: AsyncClient, blocking: Client) -> None:
    """Every method of the one is there in the other, with the same parameters."""
    for room in ("fields", "routes", "structure"):
        mine, others = getattr(girih.lattices, room), getattr(blocking.lattices, room)
        names = [name for name in dir(mine) if not name.startswith("_")]
        assert names == [name for name in dir(others) if not name.startswith("_")]
        for name in names:
            one = inspect.signature(getattr(mine, name)).parameters
            assert one == inspect.signature(getattr(others, name)).parameters


async def test_what_can_be_asked_with_asyncio_is_answered(girih: AsyncClient) -> None:
    on = await girih.lattices.create(blocked=MAZE)
    simple = girih.lattices.routes.simple(on, (0, 0), (4, 6), length_max=22)

    assert [path.steps async for path in simple] == [22]
    assert (await girih.lattices.structure.components(on)).count == 1
    assert (await girih.lattices.structure.heat(on, (0, 0), 1.0)).values.shape == (5, 7)
    assert (await girih.lattices.routes.nearest(on, [(0, 0)])).sources.shape == (5, 7, 1)


def test_simple_paths_go_on_behind_what_was_told() -> None:
    lattice = Lattice(
        id="x",
        shape=(9,),
        boundaries=(Boundary.OPEN,),
        neighbourhood=Neighbourhood.VON_NEUMANN,
        corner_rule=CornerRule.NO_CUTTING,
        vertices=9,
        edges=8,
        blocked_sites=0,
        bytes_held=0,
        created_at=datetime.now(UTC),
    )
    cursor = routes.SimplePaths(
        lattice,
        (0,),
        (8,),
        length_max=9,
        steps_max=9,
        paths_max=9,
        costs=None,
        cost_rule="entering",
    )

    def part(first: int, lengths: list[int]) -> list[float]:
        paths = [lattice_pb2.Path(found=True, length=one) for one in lengths]
        taken = cursor.take(paths_pb2.SimplePathsResponse(paths=paths, first_path=first))
        return [path.length for path in taken or ()]

    assert part(0, [1, 2]) == [1, 2]
    cursor.begin()
    assert part(0, [1, 2, 3]) == [3]
    assert part(3, [4]) == [4]


def test_a_npy_file_that_is_cut_off_is_no_array() -> None:
    reader = arrays.NpyReader()
    reader.take(b"\x93NUMPY\x01\x00")

    with pytest.raises(ValueError, match="not complete"):
        reader.result()
