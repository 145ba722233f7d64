"""What rules say of records is what readers are shown of them."""

from typing import Any, cast

from girih.ids import Position
from services.events.postgres.keeping import Fates
from services.events.rules.stream_rules import GoneReason

RECORD = b"\x08\x01 and a payload"


def test_a_payload_that_was_taken_after_the_record_was_read_is_not_shown() -> None:
    row: dict[str, object] = {
        "reason": GoneReason.REDACTED,
        "is_taken": True,
        "record_left": b"\x08\x01 without it",
    }

    fates = Fates(cast("Any", {Position(1): row}))

    assert fates.shown(RECORD, shows_gone=False) == row["record_left"]
