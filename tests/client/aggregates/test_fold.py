"""States are folded from events and from snapshots alike, and never from what does not fit."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from girih.client import Aggregate, Fold, Gone, GoneReason, HistoryUnusable, Position
from girih.client.aggregates.commands import Command
from girih.client.events import RecordedEvent
from girih.ids import Revision, uuid7
from tests.client.aggregates.permits import (
    FOLD,
    Granted,
    NotAllowed,
    Noted,
    Permit,
    PermitAggregate,
)


def recorded(event_type: str, json: str | None = "{}", gone: Gone | None = None) -> RecordedEvent:
    return RecordedEvent(
        position=Position(8),
        revision=Revision(7),
        recorded_at=datetime.now(UTC),
        id=str(uuid7()),
        stream="permit-1",
        type=event_type,
        schema_version=0,
        json=json,
        binary=None,
        content_type="",
        metadata={},
        tags=(),
        correlation_id="",
        causation_id="",
        actor="",
        gone=gone,
    )


REDACTED = Gone(
    reason=GoneReason.REDACTED, at=datetime.now(UTC), actor="user:1", position=Position(9)
)


def test_events_are_folded_in_their_order() -> None:
    events = [recorded("submitted", '{"by": "Ada"}'), recorded("noted", '{"text": "a"}')]

    assert FOLD(Permit(), events) == Permit(submitted_by="Ada", notes=("a",))


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (recorded("revoked"), "no handler"),
        (recorded("noted", "{}"), "has no text"),
        (recorded("noted", None), "has no text"),
        (recorded("noted", '{"text": 3}'), "must be str"),
        (recorded("noted", None, REDACTED), "its payload is gone"),
    ],
)
def test_no_event_is_passed_over_that_is_not_understood(event: RecordedEvent, problem: str) -> None:
    with pytest.raises(HistoryUnusable, match=problem) as caught:
        FOLD(Permit(), [event])

    named = (caught.value.stream, caught.value.revision, caught.value.type)
    assert named == ("permit-1", 7, event.type)


def test_what_is_ignored_or_redacted_is_handled_when_the_fold_says_so() -> None:
    fold = Fold(Permit())
    fold.ignore("revoked")
    fold.on("noted", Noted)(lambda permit, event: permit)
    fold.on_redacted(lambda permit, event: replace(permit, notes=(event.type,)))

    events = [recorded("revoked"), recorded("noted", None, REDACTED)]

    assert fold(Permit(), events) == Permit(notes=("noted",))


def test_a_type_has_one_handler() -> None:
    with pytest.raises(ValueError, match="submitted"):
        FOLD.on("submitted", Granted)


def test_a_snapshot_is_the_whole_state() -> None:
    permit = Permit("Ada", "Omar", ("a", "b"))

    assert FOLD.restored(FOLD.snapshot(permit), 1) == permit


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"layout": "x", "state": {}}',
        FOLD.snapshot(Permit())[:-2],
        FOLD.snapshot(Permit()).replace(b'"notes"', b'"noted"'),
        FOLD.snapshot(Permit()).replace(b'_by": ""', b'_by": 3'),
    ],
)
def test_a_snapshot_that_does_not_fit_is_none(content: bytes) -> None:
    assert FOLD.restored(content, 1) is None


def test_a_snapshot_of_the_same_version_and_another_layout_is_none() -> None:
    @dataclass(frozen=True)
    class Shorter:
        submitted_by: str = ""

    assert FOLD.restored(Fold(Shorter()).snapshot(Shorter("Ada")), 1) is None


def upgraded(*steps: tuple[int, Callable[[dict[str, Any]], dict[str, Any]]]) -> Fold[Permit]:
    fold = Fold(Permit(), version=3)
    for version, step in steps:
        fold.upgrade(version)(step)
    return fold


def test_a_snapshot_of_before_is_upgraded_version_by_version() -> None:
    @dataclass(frozen=True)
    class First:
        submitter: str

    fold = upgraded(
        (1, lambda state: {"submitted_by": state["submitter"], "granted_by": ""}),
        (2, lambda state: {**state, "notes": ["from before"]}),
    )

    first = Fold(First("Ada")).snapshot(First("Ada"))
    assert fold.restored(first, 1) == Permit("Ada", "", ("from before",))


@pytest.mark.parametrize(
    "fold",
    [
        upgraded((2, dict)),
        upgraded((1, dict), (2, lambda state: {"submitted_by": "Ada"})),
        upgraded((1, lambda state: state["missing"]), (2, dict)),
    ],
    ids=["no way", "incomplete", "failing"],
)
def test_a_snapshot_that_no_upgrade_completes_is_none(fold: Fold[Permit]) -> None:
    assert fold.restored(FOLD.snapshot(Permit("Ada")), 1) is None


def test_rules_need_no_server() -> None:
    permit = PermitAggregate("1")
    permit.submit("Ada")
    permit.grant("Omar")

    with pytest.raises(NotAllowed):
        permit.grant("Eve")

    assert permit.state == Permit("Ada", "Omar")
    assert [one.event for one in permit.pending][1:] == [Granted("Omar")]


def test_what_no_handler_knows_is_not_recorded() -> None:
    permit = PermitAggregate("1")

    with pytest.raises(TypeError):
        permit.record("granted")

    assert not permit.pending


def test_events_of_the_stream_are_not_added_behind_what_is_pending() -> None:
    permit = PermitAggregate("1")
    permit.submit("Ada")

    with pytest.raises(ValueError, match="pending"):
        permit.add([recorded("granted", '{"by": "Eve"}')])


def test_a_category_is_one_word() -> None:
    with pytest.raises(ValueError, match="category"):

        class Wrong(Aggregate[Permit]):
            category = "permit-old"
            fold = FOLD


def test_ids_of_a_command_are_its_own_and_always_the_same() -> None:
    one, other = str(uuid7()), "import 2026/17"

    ids = [
        [Command(stream, command, is_repeatable=True, pauses_s=()).event_id(n) for n in (0, 1)]
        for command in (one, other)
        for stream in ("a", "b")
        for _ in range(2)
    ]

    assert ids[::2] == ids[1::2]
    assert len({one for pair in ids for one in pair}) == 8
    assert ids[0][0][:13] == one[:13], "of the moment of the command"
