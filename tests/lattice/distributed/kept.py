"""Fields in a folder, and what workers of Dask do with them."""

from pathlib import Path

import numpy as np

from girih.ids import TenantId
from services.lattice.arrays.content import FieldContent
from services.lattice.computing.compilation import Compilation
from services.lattice.computing.compute import Compute
from services.lattice.computing.send_budget import SendBudget
from services.lattice.computing.work_limit import WorkLimit
from services.lattice.distributed.cluster import Cluster, ClusterSetup
from services.lattice.fields.boxed import KeptArray
from services.lattice.fields.keeping import keep
from services.lattice.fields.limits import FieldLimits
from services.lattice.fields.reading import FieldReader
from services.lattice.fields.states import FieldStates
from services.lattice.fields.writing import FieldWriter
from services.lattice.storage.arrays import ArrayStore
from services.lattice.storage.opening import open_store
from services.lattice.transforms.chain import Chain
from services.lattice.transforms.distributing import ChainDistributor
from tests.lattice.distributed.processes import pid_of
from tests.lattice.memory_journal import MemoryJournal
from tests.lattice.serving import until

TENANT, LATTICE = TenantId("tenant-a"), "00000000-0000-7000-8000-000000000001"
SHAPE = (40, 512, 512)
"""Ten chunks of four planes of float32."""
GO = np.zeros(1, np.uint8)
BOX_BYTES = 1 << 26
"""A box is a chunk or two then."""


class Kept:
    """Arrays in a folder, and chains over them by two workers."""

    def __init__(self, folder: Path, scheduler: str = "") -> None:
        """`scheduler` is the address of one; without it the workers are those of this machine."""
        self.folder = folder
        self._arrays = ArrayStore(open_store(str(folder)))
        self.writer = self._writer(upload_s=3600)
        self.reader = FieldReader(self._arrays)
        self.compute = Compute(threads=1, bytes_max=1 << 31, waiting_max=9)
        self.cluster = Cluster(
            ClusterSetup(
                storage=str(folder), scheduler=scheduler, worker_count=2, worker_bytes=1 << 30
            )
        )
        self.distributor = self._distributor(self.writer)

    def distributor_of(self, upload_s: float) -> ChainDistributor:
        """One that has so long for what it makes."""
        return self._distributor(self._writer(upload_s))

    def _writer(self, upload_s: float) -> FieldWriter:
        states = FieldStates(MemoryJournal(), cache_bytes=1 << 20, confirm_timeout_s=1)
        limits = FieldLimits(field_bytes_max=1 << 40, fields_max=9, uploads_max=9)
        return FieldWriter(states, self._arrays, limits, SendBudget(1 << 28), upload_s=upload_s)

    def _distributor(self, writer: FieldWriter) -> ChainDistributor:
        return ChainDistributor(
            self.cluster,
            writer,
            Compilation((), lambda _kind: None),
            WorkLimit(1 << 40),
            box_bytes=BOX_BYTES,
        )

    async def close(self) -> None:
        await self.cluster.close()
        await self.compute.close()
        await self.writer.close()
        await self.writer.arrays.objects.close()

    async def apply(self, content: FieldContent, chain: Chain) -> FieldContent:
        made, _ = await self.distributor.apply(TENANT, LATTICE, content, chain)
        return made

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
