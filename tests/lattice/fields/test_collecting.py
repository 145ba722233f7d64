"""What no event speaks of is removed, and nothing else is, whoever removes it."""

from pathlib import Path

import numpy as np
import pytest

from girih.lattice.v1 import fields_pb2 as pb
from tests.authority import Authority
from tests.lattice.fields.caller import NUMBER_TYPES, Fields
from tests.lattice.serving import replica, until
from tests.processes import Process

SHAPE = (70, 300, 40)
SOON = {
    # Longer than it takes to write all that is to be collected.
    "LATTICE_UPLOAD_S": "5",
    "LATTICE_REPLACED_S": "5",
    "LATTICE_HISTORY_S": "0",
    "LATTICE_COLLECT_INTERVAL_S": "0.1",
}


@pytest.fixture
def storage(authority: Authority) -> Path:
    return Path(authority.environ["LATTICE_STORAGE"])


def arrays(storage: Path, tenant: str, lattice_id: str) -> set[str]:
    folder = storage / tenant / lattice_id
    return {each.name for each in folder.iterdir()} if folder.exists() else set()


async def test_what_is_in_use_stays_and_the_rest_goes(
    event_store: tuple[Process, str], authority: Authority, tenant: str, storage: Path
) -> None:
    async with (
        replica(event_store[1], authority, tenant, **SOON) as one,
        replica(event_store[1], authority, tenant, **SOON) as other,
    ):
        await until(one.is_serving)
        await until(other.is_serving)
        here, there = Fields(one), Fields(other)
        lattice_id = (await one.create(shape=SHAPE)).lattice_id
        # Some is written over, some cut off, and one array is of somebody who was killed.
        for seed in range(3):
            array = np.random.default_rng(seed).normal(size=SHAPE)
            await (here if seed % 2 else there).write(lattice_id, "a", array)
        kept = await here.write(lattice_id, "b", array)
        begin = pb.BeginUploadRequest(
            lattice_id=lattice_id, name="c", number_type=NUMBER_TYPES["float64"]
        )
        await here.stub.BeginUpload(begin, metadata=here.metadata)
        in_use = {(await here.get(lattice_id, name)).array for name in ("a", "b")}
        assert len(arrays(storage, tenant, lattice_id)) == 5

        async def only_what_is_in_use_is_left() -> bool:
            await there.names(lattice_id)
            return len(arrays(storage, tenant, lattice_id)) == 2

        await until(only_what_is_in_use_is_left)

        left = {f"{tenant}/{lattice_id}/{name}" for name in arrays(storage, tenant, lattice_id)}
        assert left == in_use
        assert await there.read(lattice_id, "a") == array.tobytes()
        assert (await there.get(lattice_id, "b")).digest == kept.digest


async def test_a_deleted_lattice_leaves_nothing(
    event_store: tuple[Process, str], authority: Authority, tenant: str, storage: Path
) -> None:
    async with replica(event_store[1], authority, tenant, **SOON) as client:
        await until(client.is_serving)
        fields = Fields(client)
        lattice_id = (await client.create(shape=SHAPE)).lattice_id
        await fields.write(lattice_id, "a", np.ones(SHAPE))

        await client.delete(lattice_id)

        async def nothing_is_left() -> bool:
            return not arrays(storage, tenant, lattice_id)

        await until(nothing_is_left)
