"""Ids of events: UUIDs of version 7, in the order in which they were made."""

from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122

import pytest

from girih.client import NewEvent
from girih.ids import UuidMaker, uuid7


def test_an_id_is_a_uuid_of_version_7_that_tells_when_it_was_made() -> None:
    made = UuidMaker().make(unix_ms=1_700_000_000_123)

    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == 1_700_000_000_123


def test_ids_grow_within_a_millisecond_and_when_the_clock_goes_back() -> None:
    maker = UuidMaker()

    made = [maker.make(unix_ms=1_000 - number // 3_000) for number in range(10_000)]

    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_made_in_many_threads_differ() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: uuid7(), range(5_000)))

    assert len(set(made)) == len(made)


def test_an_event_without_an_id_is_no_event() -> None:
    with pytest.raises(ValueError, match="id"):
        NewEvent(stream="a", type="x", id="")
