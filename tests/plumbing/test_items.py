"""A list that is too long is cut before it is parsed, and refused as the whole would be."""

import pytest

from girih.events.v1 import events_pb2 as pb
from girih.lattice.v1 import lattice_pb2
from services.plumbing import validation
from services.plumbing.errors import InvalidInput
from services.plumbing.grpc.items import SMALL_BYTES, ItemLimits
from services.plumbing.wire import field

EMPTY_EVENT = b"\x0a\x00"
EVENTS_MAX = 5_000


def limits() -> ItemLimits:
    result = ItemLimits.of(pb.DESCRIPTOR.message_types_by_name["AppendRequest"])
    assert result is not None
    return result


@pytest.mark.parametrize(
    "item",
    [EMPTY_EVENT, b"\x8a\x00\x00", b"\x0a\x80\x00"],
    ids=["plain", "long tag", "long length"],
)
def test_no_more_items_are_left_than_one_too_many(item: bytes) -> None:
    left = limits().cut(item * SMALL_BYTES)

    assert len(left) <= len(item) * (EVENTS_MAX + 1)


def test_what_is_left_is_refused_by_the_same_words() -> None:
    left = pb.AppendRequest.FromString(limits().cut(EMPTY_EVENT * SMALL_BYTES))

    with pytest.raises(InvalidInput) as caught:
        validation.check(left)

    first = caught.value.violations[0]
    assert (first.field, first.description) == ("events", "must have 1 to 5,000 items")


def test_a_message_within_its_bounds_is_left_as_it_is() -> None:
    data = pb.AppendRequest(
        events=[pb.Event(stream="s", type="t", binary=b"x" * 100)] * EVENTS_MAX,
        preconditions=[pb.Precondition(stream="s", revision=1)] * 1_000,
    ).SerializeToString()
    unknown = b"\xf9\x07" + bytes(8) + b"\xfd\x07" + bytes(4) + b"\xf8\x07\x96\x01"

    assert limits().cut(data) == data
    assert limits().cut(unknown + field(1, b"x" * SMALL_BYTES)) == unknown + field(
        1, b"x" * SMALL_BYTES
    )


def test_many_fields_that_are_no_items_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at most 6,002 fields"):
        limits().cut(b"\xf8\x07\x00" * SMALL_BYTES)


@pytest.mark.parametrize("tag", [b"\x4a\x00", b"\xca\x00\x00"], ids=["plain", "long tag"])
def test_items_with_too_many_of_their_own_are_refused_by_the_same_words(tag: bytes) -> None:
    good = field(1, pb.Event(stream="s", type="t", tags=["a"] * 32).SerializeToString())
    bad = field(1, pb.Event(stream="s", type="t").SerializeToString() + tag * 1_000_000)

    data = limits().cut(good + bad + good)

    assert len(data) < SMALL_BYTES
    left = pb.AppendRequest.FromString(data)
    assert [len(event.tags) for event in left.events] == [32, 33]


def test_lists_spread_over_all_items_are_bounded_as_well() -> None:
    each = pb.Event(stream="s", type="t", tags=[""] * 500).SerializeToString()

    assert len(limits().cut(field(1, each) * EVENTS_MAX)) < SMALL_BYTES


def test_text_with_the_bytes_that_items_begin_with_is_left_as_it_is() -> None:
    event = pb.Event(stream="s", type="t", tags=["a"] * 32, metadata={"a": "b"})
    event.json = '"' + "BJ" * 500 + '"'
    data = pb.AppendRequest(events=[event] * 1_000).SerializeToString()

    assert limits().cut(data) == data


@pytest.mark.parametrize("end", [b"\x0a", b"\x0f", b"\xff" * 11, b"\x0a\x7f"])
def test_what_is_no_message_is_left_to_the_parser(end: bytes) -> None:
    data = field(1, b"x" * SMALL_BYTES) + end

    assert limits().cut(data) == data


def test_every_request_of_the_contracts_bounds_all_its_lists() -> None:
    requests = [
        message
        for file in (pb.DESCRIPTOR, lattice_pb2.DESCRIPTOR)
        for message in file.message_types_by_name.values()
        if message.name.endswith("Request") and any(one.is_repeated for one in message.fields)
    ]

    assert len(requests) == 5
    assert all(ItemLimits.of(message) is not None for message in requests)
