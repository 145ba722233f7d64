"""Numbers are written as protobuf writes them."""

import pytest

from girih.events.v1 import events_pb2 as pb
from services.plumbing.wire import read_varint, varint

LAST_OF_THEIR_LENGTH = [2**bits - 1 for bits in range(7, 64, 7)]


@pytest.mark.parametrize(
    "number", [1, *LAST_OF_THEIR_LENGTH, *[one + 1 for one in LAST_OF_THEIR_LENGTH[:-1]]]
)
def test_a_number_is_written_as_protobuf_does(number: int) -> None:
    tag, written = b"\x08", varint(number)

    assert tag + written == pb.Placement(position=number).SerializeToString()
    assert read_varint(written, 0) == (number, len(written))


def test_zero_is_one_byte() -> None:
    assert varint(0) == b"\x00"
