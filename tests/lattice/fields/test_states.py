"""What fields there are, as their events tell and as this process keeps it."""

from uuid import uuid4

import numpy as np

from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.number_type import NumberType
from services.lattice.domain import LatticeId
from services.lattice.fields.states import FieldStates
from services.lattice.state.journal import FieldWritten, LatticeCreated
from tests.lattice.memory_journal import MemoryJournal
from tests.lattice.worlds import TENANT, spec

LATTICE = LatticeId(str(uuid4()))


def written(number: int) -> FieldWritten:
    values = np.full((3, 3), number, np.uint8).tobytes()
    content = FieldContent.inline(NumberType.UINT8, (3, 3), values)
    return FieldWritten(lattice_id=LATTICE, name="a", content=content)


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
