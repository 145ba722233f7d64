"""The short form of `tests.acceptance.request_memory`."""

from tests.acceptance import request_memory


def test_a_process_holds_no_more_of_requests_than_it_is_told_to() -> None:
    # What comes of misplaced messages within a moment depends on how fast they come: that is for
    # the long form, which has the room.
    ways = [way for way in request_memory.WAYS if way != "misplaced messages"]

    assert request_memory.main(callers=40, mib=32, seconds=8.0, ways=ways) == 0
