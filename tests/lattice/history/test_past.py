"""What can be undone is told from events alone, and what differs is told in boxes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.number_type import NumberType
from services.lattice.computing.compute import Stop
from services.lattice.domain import LatticeId
from services.lattice.fields.states import NO_FIELDS, folded
from services.lattice.history.comparing import compare
from services.lattice.history.past import WrittenRecord
from services.lattice.history.undoing import Turns
from services.lattice.state.journal import (
    ChangeKind,
    FieldChange,
    FieldDeleted,
    FieldWritten,
    LatticeRecord,
    StreamSlice,
)

LATTICE = LatticeId("01a225c9-957d-7000-8b5e-bc5d9c18d311")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def written(kind: ChangeKind | None = None, array_id: str = "", name: str = "a") -> FieldWritten:
    content = FieldContent(
        number_type=NumberType.UINT8, digest="0" * 64, fill=b"\0", array_id=array_id
    )
    change = FieldChange(kind=kind, before_digest="0" * 64) if kind else None
    return FieldWritten(lattice_id=LATTICE, name=name, content=content, change=change)


def writes(*kinds: ChangeKind | None) -> list[WrittenRecord]:
    return [
        WrittenRecord(revision=revision, recorded_at=BEGAN, written=written(kind))
        for revision, kind in enumerate(kinds)
    ]


DONE, UNDONE, REDONE = ChangeKind.TRANSFORMED, ChangeKind.UNDONE, ChangeKind.REDONE


@pytest.mark.parametrize(
    ("kinds", "done", "undone"),
    [
        ([None], [], []),
        ([None, DONE, None], [1, 2], []),
        ([None, DONE, DONE, UNDONE], [1], [2]),
        ([None, DONE, DONE, UNDONE, UNDONE], [], [2, 1]),
        ([None, DONE, DONE, UNDONE, UNDONE, REDONE], [1], [2]),
        ([None, DONE, UNDONE, DONE], [3], []),
    ],
    ids=str,
)
def test_turns_are_told_from_events(
    kinds: list[ChangeKind | None], done: list[int], undone: list[int]
) -> None:
    turns = Turns.of(writes(*kinds))

    assert [record.revision for record in turns.done] == done
    assert [record.revision for record in turns.undone] == undone


def test_what_a_caller_sent_stays_for_a_while_when_it_is_written_over() -> None:
    events: list[Any] = [
        written(array_id="first"),
        written(DONE, "derived"),
        written(array_id="second"),
        written(array_id="last"),
        written(array_id="other", name="b"),
        written(array_id="gone", name="b"),
        FieldDeleted(lattice_id=LATTICE, name="b"),
    ]
    recorded = [
        LatticeRecord(revision=n, recorded_at=BEGAN + timedelta(seconds=n), event=event)
        for n, event in enumerate(events)
    ]

    known = folded(NO_FIELDS, StreamSlice(revision=len(events) - 1, recorded=recorded))

    assert known.arrays == {"", "last"}
    assert known.arrays_since(BEGAN) == {"", "first", "second", "last"}
    assert known.arrays_since(BEGAN + timedelta(seconds=2)) == {"", "second", "last"}


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(0, 2**32), st.integers(1, 9)
)
def test_regions_have_all_that_differs_once(shape: list[int], seed: int, regions_max: int) -> None:
    rng = np.random.default_rng(seed)
    one = rng.normal(size=shape)
    other = np.where(rng.random(shape) < rng.random(), one + 1.5, one)

    difference = compare(one, other, regions_max, Stop())

    covered = np.zeros(shape, int)
    for region in difference.regions:
        box = tuple(
            slice(at, at + length) for at, length in zip(region.origin, region.shape, strict=True)
        )
        covered[box] += 1
        assert region.differing == (one[box] != other[box]).sum() > 0
    assert len(difference.regions) <= regions_max
    assert covered.max(initial=0) <= 1
    assert covered[one != other].all()
    assert difference.differing == (one != other).sum()
    if difference.differing:
        assert difference.greatest == pytest.approx(1.5)


def test_nan_that_stays_does_not_differ() -> None:
    one, other = np.array([np.nan, 1.0, 0.0]), np.array([np.nan, np.nan, -0.0])

    difference = compare(one, other, 9, Stop())

    assert difference.differing == 2
    assert difference.greatest == 0.0
