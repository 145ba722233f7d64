"""Messages and values tell the same."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from girih.lattice.v1 import lattice_pb2 as pb
from services.lattice import convert
from services.lattice.domain import Computation, LatticeId, Method
from services.lattice.errors import AnswerTooLarge
from services.lattice.kernels.runs import Path
from services.lattice.operations.distances import DistancesAnswer
from services.lattice.operations.paths import PathAnswer, PathsAnswer
from services.lattice.state import records
from services.lattice.state.journal import DamagedRecord, LatticeCreated
from tests.lattice.worlds import blocked_spec, geometry

LATTICE_ID = "00000000-0000-7000-8000-000000000000"
COMPUTATION = Computation(method=Method.CLOSED_FORM, elapsed_ns=1, sites_expanded=0, memory_bytes=1)


def test_a_path_keeps_every_run_and_site() -> None:
    random = np.random.default_rng(seed=5)
    steps = random.integers(-1, 2, (500, 3)).astype(np.int8)
    counts = random.integers(1, 4, 500)
    sites = random.integers(0, 2**62, (500, 3))

    message = pb.Path.FromString(convert.path_bytes(path_of(steps, counts, sites)))

    assert (message.found, message.length, message.steps) == (True, 2.5, 7)
    assert [list(run.step) for run in message.runs] == steps.tolist()
    assert [run.count for run in message.runs] == counts.tolist()
    np.testing.assert_array_equal(
        np.array(message.sites).reshape(-1, message.axis_count), sites, strict=True
    )


@pytest.mark.parametrize("axis_count", [1, 2, 10])
@pytest.mark.parametrize("number", [1, 127, 128, 2**35, 2**63 - 1])
def test_a_path_takes_the_bytes_that_protobuf_gives_it(axis_count: int, number: int) -> None:
    steps = np.resize(np.array([-1, 0, 1], np.int8), (1_000, axis_count))
    path = path_of(steps, np.full(1_000, number), np.full((1_000, axis_count), number))

    response = convert.path_bytes(path)

    assert len(pb.Path.FromString(response).SerializeToString()) == len(response)
    assert convert._least_bytes(path) <= len(response)


@pytest.mark.parametrize("kind", ["int16", "int32", "float64"])
def test_distances_are_what_protobuf_reads_back(kind: str) -> None:
    distances = np.array([0.0, -1.0, 2.0, 30_000.0]).astype(kind)
    answer = DistancesAnswer(7, distances, COMPUTATION)

    listed = pb.DistancesResponse.FromString(convert.distances_answer_bytes(answer, as_bytes=False))
    packed = pb.DistancesResponse.FromString(convert.distances_answer_bytes(answer, as_bytes=True))

    for message in (listed, packed):
        assert message.first_index == 7
        assert message.computation == convert.computation_to_proto(COMPUTATION)
    assert list(listed.distances) == distances.tolist()
    assert (listed.values, listed.number_type) == (b"", pb.NUMBER_TYPE_UNSPECIFIED)
    assert pb.NumberType.Name(packed.number_type) == f"NUMBER_TYPE_{kind.upper()}"
    values = np.frombuffer(packed.values, np.dtype(kind).newbyteorder("<"))
    assert (values.tolist(), list(packed.distances)) == (distances.tolist(), [])


def test_answers_that_fit_one_by_one_are_cut_into_messages_that_fit() -> None:
    paths = [straight_path(site_count) for site_count in (2_000, 2_000, 10, 10, 2_000)]

    messages = messages_of(PathsAnswer(7, paths, COMPUTATION), 6_000)

    assert [message.first_query for message in messages] == [7, 8, 11]
    assert [len(path.sites) for message in messages for path in message.paths] == [
        *(2_000, 2_000, 10, 10, 2_000)
    ]
    assert all(message.ByteSize() <= 6_000 for message in messages)
    assert [message.HasField("computation") for message in messages] == [True, False, False]


def test_answers_that_fit_together_are_one_message() -> None:
    answer = PathsAnswer(0, [straight_path(2_000)] * 20, COMPUTATION)

    (message,) = messages_of(answer, 1 << 20)

    assert len(message.paths) == 20


@pytest.mark.parametrize("site_count", [2_500, 1_000_000])
def test_an_answer_that_no_message_can_hold_is_refused(site_count: int) -> None:
    path = straight_path(site_count)

    with pytest.raises(AnswerTooLarge) as refusal:
        convert.path_answer_bytes(PathAnswer(path, COMPUTATION), 5_000)
    with pytest.raises(AnswerTooLarge):
        list(convert.paths_answer_bytes(PathsAnswer(0, [path], COMPUTATION), 5_000))

    assert refusal.value.retry_after_s is None


def messages_of(answer: PathsAnswer, message_bytes_max: int) -> list[pb.FindPathsResponse]:
    messages = convert.paths_answer_bytes(answer, message_bytes_max)
    return [pb.FindPathsResponse.FromString(message) for message in messages]


def path_of(
    run_steps: NDArray[np.int8], run_counts: NDArray[np.int64], sites: NDArray[np.int64]
) -> Path:
    return replace(Path.along(run_steps, run_counts), length=2.5, steps=7, sites=sites)


def straight_path(site_count: int) -> Path:
    """A path along one axis, with that many of its sites: one to three bytes each."""
    runs = (np.ones((1, 1), np.int8), np.array([site_count]))
    return path_of(*runs, np.arange(site_count).reshape(-1, 1))


@pytest.mark.parametrize("blocked_zlib", [b"\1\2\3", zlib.compress(bytes(10))[:-2]])
@pytest.mark.parametrize("length", [9, 10, 12])
def test_a_damaged_bitmap_is_noticed(blocked_zlib: bytes, length: int) -> None:
    payload = pb.LatticeCreated(lattice_id=LATTICE_ID, shape=[8 * length], edges="0")
    payload.boundaries.append(pb.BOUNDARY_OPEN)

    with pytest.raises(DamagedRecord):
        records.created_from_proto(payload, blocked_zlib)


@pytest.mark.parametrize("length", [9, 11, 1 << 24])
def test_a_bitmap_of_another_length_is_noticed_and_not_unpacked(length: int) -> None:
    payload = pb.LatticeCreated(lattice_id=LATTICE_ID, shape=[80], edges="0")
    payload.boundaries.append(pb.BOUNDARY_OPEN)

    with pytest.raises(DamagedRecord):
        records.created_from_proto(payload, zlib.compress(bytes(length)))


def test_a_creation_without_its_bitmap_is_that_of_the_catalogue() -> None:
    created = LatticeCreated.of(
        LatticeId(LATTICE_ID), blocked_spec(geometry(9, 9), 0.3, 1), vertices=1, edges=1
    )

    assert records.created_from_proto(records.created_to_proto(created, b""), b"") == replace(
        created, blocked=b""
    )
