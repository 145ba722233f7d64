"""Records reach the database as they would if the driver encoded them, and hold up nobody."""

from uuid import UUID

from services.events.domain import PlacedEvent
from services.events.postgres.database import Database
from services.events.postgres.new_records import NewRecords
from tests.events.making import event_id, new_event, placed_event

TAGS = ((), ("a",), ("first", "ümläut", "x" * 255))


def placed(count: int) -> list[PlacedEvent]:
    """Events that differ in all that a record has."""
    events = [
        new_event(
            f"s-{number % 7}",
            content=f"content {number}",
            with_id=event_id(number),
            event_type=f"happened-ü-{number % 3}",
            tags=TAGS[number % 3],
        )
        for number in range(1, count + 1)
    ]
    return [
        placed_event(
            event._replace(payload=b"" if number % 5 == 0 else event.payload),
            number,
            revision=number % 11,
            first=2**40 + number,
        )
        for number, event in enumerate(events, 1)
    ]


async def test_records_are_those_that_the_driver_would_have_sent(database: Database) -> None:
    events = placed(230)
    headers = [f"header {one.position}".encode() for one in events]
    new_records = NewRecords()

    await new_records.add(events[:210], headers[:210])
    await new_records.add(events[210:], headers[210:])

    async with database.connection() as connection:
        rows = await connection.fetch("SELECT * FROM unnest($1::events.new_record[])", new_records)
    assert list(map(tuple, rows)) == [
        (
            one.stream_number,
            one.revision,
            UUID(one.event.event_id),
            one.event.type,
            one.context.correlation_id,
            one.event.digest,
            list(one.event.tags) or None,
            header,
            one.event.payload,
        )
        for one, header in zip(events, headers, strict=True)
    ]


async def test_no_records_are_an_empty_array(database: Database) -> None:
    async with database.connection() as connection:
        count = await connection.fetchval(
            "SELECT cardinality($1::events.new_record[])", NewRecords()
        )

    assert count == 0


def test_many_records_let_others_run_in_between() -> None:
    events = placed(2_000)
    adding = NewRecords().add(events, [b"header"] * len(events))
    turns = 0

    try:
        while True:
            adding.send(None)
            turns += 1
    except StopIteration:
        pass

    assert turns >= 19
