"""Lattices from Python: arrays in, arrays out, with asyncio and without, on a real service."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest

from girih.client import (
    AsyncClient,
    Boundary,
    Client,
    InvalidRequest,
    LatticeNotFound,
    Neighbourhood,
    RetryPolicy,
    WorkTooLarge,
)
from girih.client.lattices import arrays, messages
from girih.client.lattices.messages import DistancesCursor, PathsCursor
from girih.lattice.v1 import lattice_pb2 as pb
from tests.authority import Authority
from tests.client.between import Failure

RETRY = RetryPolicy(timeout_s=90.0, attempt_timeout_s=90.0, pause_s_min=0.01, pause_s_max=0.1)

MAZE = np.zeros((5, 7), bool)
MAZE[1, :6] = True
MAZE[3, 1:] = True


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


async def test_a_bitmap_comes_back_as_the_array_that_it_was(girih: AsyncClient) -> None:
    lattice = await girih.lattices.create(blocked=MAZE)

    blocked = await girih.lattices.blocked(lattice)

    assert (lattice.shape, lattice.blocked_sites) == ((5, 7), 12)
    assert blocked.dtype == bool
    np.testing.assert_array_equal(blocked, MAZE)


async def test_a_path_is_an_array_of_free_neighbours(girih: AsyncClient) -> None:
    lattice = await girih.lattices.create(blocked=MAZE)

    path = await girih.lattices.find_path(lattice, (0, 0), np.array([4, 6]))

    sites = path.sites
    assert path
    assert (path.length, path.steps, sites.shape) == (22.0, 22, (23, 2))
    assert (sites[0].tolist(), sites[-1].tolist()) == ([0, 0], [4, 6])
    assert (np.abs(np.diff(sites, axis=0)).sum(axis=1) == 1).all()
    assert not MAZE[tuple(sites.T)].any()
    assert list(path) == [tuple(site) for site in sites.tolist()]
    assert (path.computation.method != "UNSPECIFIED", path.computation.exact) == (True, True)


async def test_a_path_goes_over_the_edge_of_a_periodic_axis(girih: AsyncClient) -> None:
    lattice = await girih.lattices.create(
        (10, 10), boundaries=Boundary.PERIODIC, neighbourhood="moore"
    )

    path = await girih.lattices.find_path(lattice.id, (1, 1), (9, 8))

    sites = path.sites.tolist()
    assert math.isclose(path.length, 1 + 2 * math.sqrt(2))
    assert (sites[0], sites[-1]) == ([1, 1], [9, 8])
    assert np.asarray(path).shape == (4, 2)
    assert list(path) == [tuple(site) for site in sites]


async def test_that_there_is_no_path_is_an_answer(girih: AsyncClient) -> None:
    wall = np.zeros((3, 3), bool)
    wall[1] = True
    lattice = await girih.lattices.create(blocked=wall)

    path = await girih.lattices.find_path(lattice, (0, 0), (2, 0))

    assert not path
    assert (path.length, path.sites.shape, list(path)) == (math.inf, (0, 2), [])


async def test_paths_come_in_the_order_of_their_queries(girih: AsyncClient) -> None:
    lattice = await girih.lattices.create(blocked=MAZE)
    queries = [((0, 0), (0, n)) for n in range(7)] + [((0, 0), (4, 6))]

    lengths = [path.length async for path in girih.lattices.find_paths(lattice, queries)]

    assert lengths == [0, 1, 2, 3, 4, 5, 6, 22]


async def test_distances_have_the_shape_of_what_was_asked_for(girih: AsyncClient) -> None:
    lattice = await girih.lattices.create(blocked=MAZE)

    whole = await girih.lattices.distances(lattice, [(0, 0)])
    box = await girih.lattices.distances(lattice.id, [(0, 0)], origin=(2, 3))
    chosen = await girih.lattices.distances(lattice, [(0, 0)], targets=[(0, 5), (4, 6), (1, 0)])

    assert (whole.shape, str(whole.dtype)) == ((5, 7), "float64")
    assert np.isinf(whole[MAZE]).all()
    assert np.isfinite(whole[~MAZE]).all()
    assert (whole[0, 6], whole[4, 6]) == (6, 22)
    np.testing.assert_array_equal(box, whole[2:, 3:])
    assert chosen.tolist() == [5, 22, math.inf]


async def test_lattices_are_listed_and_deleted(girih: AsyncClient) -> None:
    made = [await girih.lattices.create((size, size)) for size in (2, 3)]

    await girih.lattices.delete(made[0])

    assert [one.id async for one in girih.lattices.list()] == [made[1].id]
    assert (await girih.lattices.get(made[1].id)).edges == 12
    with pytest.raises(LatticeNotFound):
        await girih.lattices.get(made[0].id)
    with pytest.raises(LatticeNotFound):
        await girih.lattices.delete(made[0].id)


async def test_all_of_it_goes_without_asyncio(blocking: Client) -> None:
    def use() -> tuple[Any, ...]:
        lattices = blocking.lattices
        lattice = lattices.create(blocked=MAZE)
        path = lattices.find_path(lattice, (0, 0), (4, 6))
        paths = list(lattices.find_paths(lattice, [((0, 0), (0, n)) for n in range(7)]))
        distances = lattices.distances(lattice, [(0, 0)])
        blocked = lattices.blocked(lattice)
        listed = [one.id for one in lattices.list()]
        with pytest.raises(InvalidRequest):
            lattices.find_path(lattice, (0, 0), (1, 1))
        lattices.delete(lattice)
        return lattice, path, paths, distances, blocked, listed

    lattice, path, paths, distances, blocked, listed = await asyncio.to_thread(use)

    assert listed == [lattice.id]
    assert path.sites.shape == (23, 2)
    assert [one.length for one in paths] == [0, 1, 2, 3, 4, 5, 6]
    assert distances[4, 6] == 22
    np.testing.assert_array_equal(blocked, MAZE)


SQUARE = messages.lattice(pb.Lattice(lattice_id="x", shape=[3, 4]))


def test_paths_resume_with_the_queries_that_are_not_answered() -> None:
    cursor = PathsCursor(SQUARE, [((0, 0), (0, n)) for n in range(3)])
    cursor.begin()
    computation = pb.Computation(method=pb.METHOD_A_STAR)
    taken = cursor.take(pb.FindPathsResponse(paths=[pb.Path(found=True)], computation=computation))

    left = cursor.begin()

    assert taken is not None
    assert [list(one.goal.coordinates) for one in left.queries] == [[0, 1], [0, 2]]
    assert not cursor.is_done
    cursor.take(pb.FindPathsResponse(paths=[pb.Path(), pb.Path()]))
    assert cursor.is_done


def test_distances_that_come_twice_are_there_once() -> None:
    cursor = DistancesCursor(SQUARE, [(0, 0)], targets=None, origin=None, shape=None)

    for first, values in ((0, [0.0, 1.0]), (0, [0.0, 1.0]), (2, [2.0] * 9 + [-1.0])):
        cursor.take(pb.DistancesResponse(first_index=first, distances=values))

    distances = cursor.distances()
    assert distances.shape == (3, 4)
    assert distances.ravel().tolist() == [0.0, 1.0, *[2.0] * 9, math.inf]


@pytest.mark.parametrize(("number_type", "kind"), [("INT16", "<i2"), ("INT32", "<i4")])
def test_distances_come_as_arrays_of_whole_numbers_too(number_type: str, kind: str) -> None:
    cursor = DistancesCursor(SQUARE, [(0, 0)], targets=None, origin=None, shape=None)
    assert cursor.begin().as_bytes

    for first, values in ((0, [0, 1]), (2, [2] * 9 + [-1])):
        response = pb.DistancesResponse(first_index=first, number_type=f"NUMBER_TYPE_{number_type}")
        response.values = np.array(values, kind).tobytes()
        cursor.take(response)

    assert cursor.distances().ravel().tolist() == [0.0, 1.0, *[2.0] * 9, math.inf]


@pytest.mark.parametrize("shape", [(1,), (8,), (3, 3), (2, 3, 5), (17, 16)], ids=str)
def test_bitmaps_unpack_to_what_was_packed(shape: tuple[int, ...]) -> None:
    blocked = np.random.default_rng(seed=7).random(shape) < 0.4

    packed_shape, bitmap = arrays.packed(blocked)

    assert packed_shape == shape
    np.testing.assert_array_equal(arrays.unpacked(bitmap, shape), blocked)
    assert arrays.packed(blocked[::-1].T)[1] == arrays.packed((blocked[::-1].T).copy())[1]


def test_a_lattice_that_makes_no_sense_is_refused_before_the_call() -> None:
    common: dict[str, Any] = {
        "boundaries": "open",
        "neighbourhood": Neighbourhood.MOORE,
        "corner_rule": "cutting",
    }

    for shape, blocked in ((None, None), ((3, 3), MAZE), (None, [[0, 2]])):
        with pytest.raises(ValueError, match="must"):
            messages.create_request(shape, blocked=blocked, **common)
    with pytest.raises(ValueError, match="round"):
        messages.create_request((3,), blocked=None, **{**common, "boundaries": "round"})


def test_a_lattice_has_a_request_id_of_its_own() -> None:
    def made() -> pb.CreateLatticeRequest:
        return messages.create_request(
            (3,), blocked=None, boundaries="open", neighbourhood="moore", corner_rule="cutting"
        )

    assert made().request_id
    assert made().request_id != made().request_id


class Answering(grpc.GenericRpcHandler):
    """Answers every call of whichever rpc with the next failure, and then with nothing in it."""

    def __init__(self, failures: list[Failure]) -> None:
        self.failures = failures

    def service(self, handler_call_details: Any) -> Any:
        del handler_call_details

        def serve(_request: bytes, context: grpc.ServicerContext) -> bytes:
            if self.failures:
                context.abort_with_status(self.failures.pop(0).status)
            return b""

        return grpc.unary_unary_rpc_method_handler(serve)


@contextmanager
def answering(*failures: Failure) -> Iterator[Client]:
    """A client of who does so."""
    with (
        answered(*failures) as address,
        Client(events=address, lattice=address, token="t", retry=RETRY) as girih,
    ):
        yield girih


@contextmanager
def answered(*failures: Failure) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Answering(list(failures)),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield address
    finally:
        server.stop(0).wait()


AWAY = Failure(grpc.StatusCode.UNAVAILABLE)
GONE = Failure(grpc.StatusCode.NOT_FOUND, "LATTICE_NOT_FOUND")


def test_a_lattice_that_is_gone_after_a_lost_answer_was_deleted() -> None:
    with answering(AWAY, GONE) as girih:
        girih.lattices.delete("x")

    with answering(GONE) as girih, pytest.raises(LatticeNotFound):
        girih.lattices.delete("x")


async def test_a_lattice_that_is_gone_after_a_lost_answer_was_deleted_with_asyncio() -> None:
    with answered(AWAY, GONE, GONE) as address:
        async with AsyncClient(events=address, lattice=address, token="t", retry=RETRY) as girih:
            await girih.lattices.delete("x")
            with pytest.raises(LatticeNotFound):
                await girih.lattices.delete("x")


def test_work_that_is_too_large_is_not_asked_for_again() -> None:
    too_large = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "WORK_TOO_LARGE")

    with answering(too_large) as girih, pytest.raises(WorkTooLarge):
        girih.lattices.find_path(SQUARE, (0, 0), (1, 1))


def test_lattices_that_keep_changing_are_asked_for_again() -> None:
    with answering(Failure(grpc.StatusCode.ABORTED, "LATTICES_CHANGED"), AWAY) as girih:
        assert girih.lattices.create((3,)).shape == ()
