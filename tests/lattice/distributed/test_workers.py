"""What workers of Dask do is the same to the bit, also when one of them is killed meanwhile."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from girih.ids import TenantId
from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.region import region_of
from services.lattice.computing.compilation import Compilation
from services.lattice.computing.compute import Compute
from services.lattice.computing.send_budget import SendBudget
from services.lattice.computing.work_limit import WorkLimit
from services.lattice.distributed.cluster import Cluster, ClusterSetup
from services.lattice.errors import TransformUnfit
from services.lattice.fields.boxed import KeptArray
from services.lattice.fields.keeping import keep
from services.lattice.fields.limits import FieldLimits
from services.lattice.fields.reading import FieldReader
from services.lattice.fields.states import FieldStates
from services.lattice.fields.statistics import StatisticsQuery, summarize, summarize_by_workers
from services.lattice.fields.writing import FieldWriter
from services.lattice.storage.arrays import ArrayStore
from services.lattice.storage.opening import open_store
from services.lattice.structure.components import find_components
from services.lattice.transforms import neighbours, numbers
from services.lattice.transforms.chain import Chain
from services.lattice.transforms.distributing import ChainDistributor
from services.lattice.transforms.step import EdgeChoice
from tests.lattice.memory_journal import MemoryJournal
from tests.lattice.serving import until
from tests.lattice.transforms.arrays import fit_of
from tests.lattice.worlds import blocked_spec, geometry, held, operations_on

TENANT, LATTICE = TenantId("tenant-a"), "00000000-0000-7000-8000-000000000001"
SHAPE = (40, 512, 512)
"""Ten chunks of four planes of float32."""
GO = np.zeros(1, np.uint8)
BOX_BYTES = 1 << 26
"""A box is a chunk or two then."""


class Kept:
    """Arrays in a folder, and chains over them by two workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        states = FieldStates(MemoryJournal(), cache_bytes=1 << 20, confirm_timeout_s=1)
        limits = FieldLimits(field_bytes_max=1 << 40, fields_max=9)
        arrays = ArrayStore(open_store(str(folder)))
        self.writer = FieldWriter(states, arrays, limits, SendBudget(1 << 28), upload_s=3600)
        self.reader = FieldReader(arrays)
        self.compute = Compute(threads=1, bytes_max=1 << 31, waiting_max=9)
        self.cluster = Cluster(
            ClusterSetup(storage=str(folder), worker_count=2, worker_bytes=1 << 30)
        )
        self.distributor = ChainDistributor(
            self.cluster,
            self.writer,
            Compilation((), lambda _kind: None),
            WorkLimit(1 << 40),
            box_bytes=BOX_BYTES,
        )

    async def keep(self, array: np.ndarray) -> FieldContent:
        return await keep(self.writer, TENANT, LATTICE, array)

    def array(self, content: FieldContent) -> KeptArray:
        return KeptArray(
            storage=str(self.folder),
            tenant=TENANT,
            lattice_id=LATTICE,
            shape=SHAPE,
            content=content,
        )

    def arrays(self) -> set[str]:
        return {each.name for each in (self.folder / TENANT / LATTICE).iterdir()}

    async def until_one_more(self, known: set[str]) -> None:
        """Until the first chunk of an array is there that was not there before."""

        async def is_there() -> bool:
            return any(
                any((self.folder / TENANT / LATTICE / name).iterdir())
                for name in self.arrays() - known
            )

        await until(is_there)

    async def pids(self) -> set[int]:
        """Of the workers that there are."""
        return set(await self.cluster.map(pid_of, range(8)))


def pid_of(_number: int) -> int:
    return os.getpid()


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    pytest.importorskip("distributed")
    kept = Kept(tmp_path)
    yield kept
    await kept.cluster.close()
    await kept.compute.close()
    await kept.writer.close()
    await kept.writer.arrays.objects.close()


async def test_a_worker_that_is_killed_changes_no_bit(kept: Kept) -> None:
    array = np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)
    chain = Chain.of(
        [neighbours.Diffuse(0.1, 2), numbers.Normalise(0.0, 1.0)],
        fit_of(array, (True, False, False)),
    )
    content = await kept.keep(array)
    pids = await kept.pids()
    known = kept.arrays()

    applying = asyncio.create_task(kept.distributor.apply(TENANT, LATTICE, content, chain))
    await kept.until_one_more(known)
    os.kill(min(pids), signal.SIGKILL)
    made, reports = await applying

    expected, _ = chain.apply(array, GO)
    assert made.digest == (await kept.keep(expected)).digest
    assert all(0 < each.auxiliary_bytes <= each.auxiliary_bytes_max for each in reports)
    # Between the passes nothing is left: the source, the result, and what it is compared with.
    assert len(kept.arrays()) == 3

    await check_statistics(kept, made, expected)
    await check_components(kept)
    await check_refusal(kept, array)


async def check_statistics(kept: Kept, content: FieldContent, array: np.ndarray) -> None:
    """Of one thread and of workers they are the same to the bit."""
    source = await kept.reader.source(TENANT, LATTICE, SHAPE, content)
    query = StatisticsQuery(region=region_of(SHAPE, [1, 0, 0], [], [3, 1, 2]), bins=9)
    limit = WorkLimit(1 << 40)

    alone = await summarize(kept.reader, source, query, kept.compute, limit)
    shared = await summarize_by_workers(
        kept.cluster, kept.array(content), kept.reader, source, query, kept.compute, limit
    )

    told = [(each.sites, each.low, each.mean, each.deviations) for each in (alone, shared)]
    assert told[0] == told[1]
    assert alone.digest.hexdigest() == shared.digest.hexdigest()
    assert alone.sites == array[1::3, :, ::2].size
    assert alone.histogram is not None
    assert shared.histogram is not None
    assert alone.histogram.counts.tolist() == shared.histogram.counts.tolist()


async def check_components(kept: Kept) -> None:
    """Those that one thread has no time for are found by workers, and the same."""
    requested = blocked_spec(geometry(30, 40, 50), 0.6, 1, free=[0])
    alone = operations_on(kept.compute)
    shared = operations_on(
        kept.compute, looks_max=3 * requested.geometry.sites, cluster=kept.cluster
    )

    found = await find_components(shared, held(requested), 100)

    expected = await find_components(alone, held(requested), 100)
    assert (found.count, found.axes) == (expected.count, expected.axes)
    assert found.largest == expected.largest


async def check_refusal(kept: Kept, array: np.ndarray) -> None:
    """A number that a step does not fit is told by the worker that finds it."""
    array[20, 3, 3] = np.nan
    steps = [
        numbers.Scale(2.0, 0.0),
        neighbours.Convolve((3, 1, 1), (1.0,) * 3, EdgeChoice(None, 0.0)),
    ]
    chain = Chain.of(steps, fit_of(array, (True, False, False)))
    content = await kept.keep(array)

    with pytest.raises(TransformUnfit) as refused:
        await kept.distributor.apply(TENANT, LATTICE, content, chain)

    assert refused.value.metadata["step"] == 1
