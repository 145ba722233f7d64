"""A window gives each follower what lies behind it, as the plainest reading would."""

import random
from collections.abc import Sequence

import pytest

from girih.events.v1 import events_pb2 as pb
from girih.ids import Position, Revision, StreamName
from services.events.domain import POSITION_MAX
from services.events.matching.queries import Filter, Labels, Query
from services.events.reading.window import RESPONSE_BYTES_MAX, FollowCursor, TailRecord, Window
from services.events.record import read_response

FIRST = 100
INCARNATION = "0123456789abcdef"


def record(position: int, size: int = 10, stream: str = "s", revision: int = 0) -> TailRecord:
    recorded = pb.RecordedEvent(position=position, event=pb.Event(binary=bytes(size)))
    return TailRecord(
        Position(position),
        recorded.SerializeToString(),
        Revision(revision),
        Labels(StreamName(stream), f"type {position % 3}", (stream, f"tag {position % 5}"), "c"),
    )


def records(dice: random.Random, count: int) -> list[TailRecord]:
    revisions = {"a": 0, "b": 5, "c": 0}
    made = []
    for position in range(FIRST, FIRST + count):
        stream = dice.choice("abc")
        size = dice.choice([10, 10, 10, 2_000, 30_000, 100_000])
        made.append(record(position, size, stream, revisions[stream]))
        revisions[stream] += 1
    return made


def window_of(groups: Sequence[Sequence[TailRecord]], incarnation: str = INCARNATION) -> Window:
    window = Window(read_response)
    window.begin(Position(FIRST), incarnation)
    for group in groups:
        window.add(group)
    return window


def positions(response: bytes) -> list[int]:
    return [one.position for one in pb.ReadResponse.FromString(response).events]


def walked(window: Window, at: FollowCursor) -> list[int]:
    """What a follower receives from a window, response after response."""
    received: list[int] = []
    while at.left and at.position < window.end:
        taken = window.take(at)
        assert taken is not None
        result = positions(taken.response)
        assert not result or pb.ReadResponse.FromString(taken.response).incarnation == INCARNATION
        assert len(result) == taken.record_count
        assert len(taken.response) < 2 * RESPONSE_BYTES_MAX or len(result) == 1
        received += result
        at = at.behind(taken)
    return received


@pytest.mark.parametrize("seed", range(20))
def test_a_walk_from_anywhere_gives_every_record_once_and_in_order(seed: int) -> None:
    dice = random.Random(seed)
    all_records = records(dice, 60)
    cuts = sorted(dice.sample(range(1, 60), 5))
    groups = [all_records[a:b] for a, b in zip([0, *cuts], [*cuts, 60], strict=True)]
    window = window_of(groups)

    for _ in range(50):
        start, left = dice.randint(FIRST, window.end), dice.choice([1, 3, POSITION_MAX])
        of_log = [one.position for one in all_records if one.position >= start]
        assert walked(window, FollowCursor(Position(start), left)) == of_log[:left]
        stream, revision = dice.choice("abc"), dice.randint(0, 20)
        floor = dice.randint(FIRST, window.end)
        of_stream = [
            one.position
            for one in all_records
            if one.labels.stream == stream
            and one.revision >= revision
            and one.position >= max(start, floor)
        ]
        bookmark = FollowCursor(
            Position(start), left, StreamName(stream), Revision(revision), Position(floor)
        )
        assert walked(window, bookmark) == of_stream[:left]
        wanted = some_filter(dice)
        meant = [one.position for one in all_records if wanted.matches(one.labels)]
        behind = FollowCursor(Position(start), left, filter=wanted)
        assert walked(window, behind) == [one for one in meant if one >= start][:left]


def some_filter(dice: random.Random) -> Filter:
    queries = (
        Query(types=frozenset(("type 1", "type 2"))),
        Query(tags=frozenset(("a", "tag 3"))),
        Query(stream_prefix="b"),
        Query(category="c", types=frozenset(("type 0",))),
        Query(tags=frozenset(("nobody's",))),
    )
    return Filter(tuple(dice.sample(queries, dice.randint(1, 3))))


def test_followers_at_one_place_are_given_one_and_the_same_object() -> None:
    window = window_of([[record(FIRST)], [record(FIRST + 1)]])
    first, second = (window.take(FollowCursor(Position(FIRST), POSITION_MAX)) for _ in range(2))

    assert first is not None
    assert second is not None
    assert first.response is second.response
    assert positions(first.response) == [FIRST, FIRST + 1]


def test_what_was_dropped_must_be_read_elsewhere() -> None:
    window = window_of([[record(FIRST)], [record(FIRST + 1)]])
    before = window.byte_count

    window.drop_oldest()

    assert window.byte_count < before
    assert window.take(FollowCursor(Position(FIRST), 1)) is None
    taken = window.take(FollowCursor(Position(FIRST + 1), 1))
    assert taken is not None
    assert positions(taken.response) == [FIRST + 1]


def test_nothing_is_left_of_an_emptied_window() -> None:
    window = window_of([[record(FIRST)]])

    window.drop_oldest()

    assert (window.first, window.end, window.byte_count) == (FIRST + 1, FIRST + 1, 0)


def sized(position: int, byte_count: int) -> TailRecord:
    """A record whose response has exactly so many bytes."""
    one = record(position, byte_count - 40)
    missing = byte_count - len(read_response([one.record]))
    exact = record(position, byte_count - 40 + missing)
    assert len(read_response([exact.record])) == byte_count
    return exact


@pytest.mark.parametrize(
    ("sizes", "joined"),
    [
        ([RESPONSE_BYTES_MAX - 1_000, 1_000], 2),
        ([RESPONSE_BYTES_MAX - 1_000, 1_001], 1),
        ([RESPONSE_BYTES_MAX - 2_000, 1_000, 1_000], 3),
        ([RESPONSE_BYTES_MAX - 2_000, 1_000, 1_001], 2),
    ],
)
def test_pieces_are_joined_up_to_the_size_of_a_response_and_not_beyond(
    sizes: list[int], joined: int
) -> None:
    window = window_of([[sized(FIRST + n, size)] for n, size in enumerate(sizes)], "")

    taken = window.take(FollowCursor(Position(FIRST), POSITION_MAX))

    assert taken is not None
    assert positions(taken.response) == list(range(FIRST, FIRST + joined))


@pytest.mark.parametrize("stream", [None, StreamName("s")])
def test_a_follower_at_the_end_is_given_nothing_and_is_up_to_date(
    stream: StreamName | None,
) -> None:
    window = window_of([[record(FIRST)], [record(FIRST + 1, revision=1)]])

    taken = window.take(FollowCursor(window.end, POSITION_MAX, stream))

    assert taken is not None
    assert (taken.response, taken.record_count, taken.position) == (b"", 0, window.end)
