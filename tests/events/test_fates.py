"""What rules say of records is what readers are shown of them."""

from datetime import UTC, datetime
from typing import Any, cast

from girih.ids import Position, Revision, StreamName
from services.events.postgres.keeping import Fates, lapsing
from services.events.rules.stream_rules import GoneReason

RECORD = b"\x08\x01 and a payload"


def test_a_payload_that_was_taken_after_the_record_was_read_is_not_shown() -> None:
    row: dict[str, object] = {
        "is_hidden": False,
        "reason": GoneReason.REDACTED,
        "is_taken": True,
        "record_left": b"\x08\x01 without it",
    }

    fates = Fates(cast("Any", {Position(1): row}))

    assert fates.shown(RECORD, shows_gone=False) == row["record_left"]


def test_what_is_redacted_becomes_too_old_as_others_do() -> None:
    moment = datetime(2026, 11, 29, tzinfo=UTC)
    row: dict[str, object] = {
        "is_hidden": False,
        "reason": GoneReason.REDACTED,
        "lapses_at": moment,
        "kept_from": None,
    }
    page: list[Any] = [(Position(1), RECORD, StreamName("s"), Revision(0), "happened", [], "c-1")]

    lapse = lapsing(page, Fates(cast("Any", {Position(1): row})))

    assert lapse.at == moment
