"""What fields there are, as their events tell and as this process keeps it."""

from uuid import UUID, uuid4

import numpy as np

from girih.ids import TenantId
from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.number_type import NumberType
from services.lattice.domain import LatticeId
from services.lattice.fields.states import FieldStates
from services.lattice.state.journal import (
    FieldEvent,
    FieldWritten,
    LatticeCreated,
    LatticeRecord,
)
from tests.lattice.memory_journal import MemoryJournal
from tests.lattice.worlds import TENANT, spec

LATTICE = LatticeId(str(uuid4()))


def written(number: int, name: str = "a") -> FieldWritten:
    values = np.full((3, 3), number, np.uint8).tobytes()
    content = FieldContent.inline(NumberType.UINT8, (3, 3), values)
    return FieldWritten(lattice_id=LATTICE, name=name, content=content)


async def test_a_command_that_is_repeated_late_leaves_what_was_written_since() -> None:
    journal, command_id = MemoryJournal(), uuid4()
    states = FieldStates(journal, cache_bytes=1 << 20, confirm_timeout_s=1.0)
    created = LatticeCreated.of(LATTICE, spec(3, 3), vertices=9, edges=12)
    await journal.append_created(TENANT, created, uuid4())
    first = await states.change(TENANT, LATTICE, lambda _known: written(1), command_id)
    await states.change(TENANT, LATTICE, lambda _known: written(2))

    again = await states.change(TENANT, LATTICE, lambda _known: written(1), command_id)

    assert again == first
    assert (await states.of(TENANT, LATTICE)).field("a").content == written(2).content


class Overtaken(MemoryJournal):
    """Somebody else records fields before ours, with the same command at last."""

    def __init__(self, others: list[tuple[FieldWritten, UUID]]) -> None:
        super().__init__()
        self._others = others

    async def append_field(
        self, tenant: TenantId, event: FieldEvent, *, expected_revision: int, command_id: UUID
    ) -> LatticeRecord:
        for ordinal, (other, other_id) in enumerate(self._others):
            await super().append_field(
                tenant, other, expected_revision=expected_revision + ordinal, command_id=other_id
            )
        self._others = []
        return await super().append_field(
            tenant, event, expected_revision=expected_revision, command_id=command_id
        )


async def test_what_came_before_a_command_that_another_replica_recorded_is_known() -> None:
    command_id = uuid4()
    journal = Overtaken([(written(2, "b"), uuid4()), (written(1), command_id)])
    states = FieldStates(journal, cache_bytes=1 << 20, confirm_timeout_s=1.0)
    created = LatticeCreated.of(LATTICE, spec(3, 3), vertices=9, edges=12)
    await journal.append_created(TENANT, created, uuid4())

    state = await states.change(TENANT, LATTICE, lambda _known: written(1), command_id)

    assert state is not None
    assert state.revision == 2
    assert (await states.of(TENANT, LATTICE)).fields.keys() == {"a", "b"}
