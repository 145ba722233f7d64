"""Messages and values tell the same."""

import zlib
from dataclasses import replace

import numpy as np
import pytest

from girih.lattice.v1 import lattice_pb2 as pb
from services.lattice import convert
from services.lattice.computing.answers import Path, _message_bytes
from services.lattice.state import records
from services.lattice.state.journal import DamagedRecord, LatticeCreated
from tests.lattice.worlds import blocked_spec, geometry

LATTICE_ID = "00000000-0000-7000-8000-000000000000"


def test_a_path_keeps_every_run_and_site() -> None:
    random = np.random.default_rng(seed=5)
    steps = random.integers(-1, 2, (500, 3)).astype(np.int8)
    counts = random.integers(1, 4, 500)
    sites = random.integers(0, 2**62, (500, 3))

    answer = convert.path_to_proto(Path(True, 2.5, 7, steps, counts, sites, 0))

    assert (answer.found, answer.length, answer.steps) == (True, 2.5, 7)
    assert [list(run.step) for run in answer.runs] == steps.tolist()
    assert [run.count for run in answer.runs] == counts.tolist()
    assert [list(site.coordinates) for site in answer.sites] == sites.tolist()


def test_a_path_never_takes_more_bytes_than_told() -> None:
    frame = geometry(2**20, 2**10, 2**30)
    runs = (np.ones((1_000, 3), np.int8), np.full(1_000, 2**59))
    sites = np.tile(np.array(frame.shape) - 1, (1_000, 1))
    message_bytes = convert.path_to_proto(Path(True, 1e9, 2**62, *runs, sites, 0)).ByteSize()

    assert message_bytes <= _message_bytes(frame, 1_000, 1_000) <= 1.5 * message_bytes


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
        LATTICE_ID, blocked_spec(geometry(9, 9), 0.3, 1), vertices=1, edges=1
    )

    assert records.created_from_proto(records.created_to_proto(created, b""), b"") == replace(
        created, blocked=b""
    )
