"""Large messages in slices are the same JSON as in one."""

from typing import Any

import orjson
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.transcoding import slices
from gateway.transcoding.codec import Encoder
from gateway.transcoding.slices import SlicedEncoder
from tests.gateway.sample import descriptor, message
from tests.gateway.test_codec import EVERYTHING, _many, everything

_encoder = Encoder()
_sliced = SlicedEncoder(_encoder)


def whole(made: Message, kind: Descriptor = EVERYTHING) -> bytes:
    return orjson.dumps(_encoder.message(kind)(made))


def sliced(made: Message, kind: Descriptor = EVERYTHING) -> list[bytes]:
    return list(_sliced.slices(kind, made.SerializeToString()))


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_BYTES", 8)


@settings(_many, max_examples=40)
@given(everything(), st.sampled_from([8, 40]))
def test_slices_are_together_what_the_encoder_answers(made: Message, slice_bytes: int) -> None:
    slices.SLICE_BYTES = slice_bytes
    # A map has no order of its own on the wire.
    again = type(made).FromString(made.SerializeToString())

    assert b"".join(sliced(made)) == whole(again)


@pytest.mark.parametrize("name", ["double_numbers", "float_numbers", "long_numbers", "colours"])
def test_packed_numbers_are_cut_between_numbers(name: str) -> None:
    made: Any = message("Everything")
    getattr(made, name).extend([0, 1, 2, 300] * 100)

    result = sliced(made)

    assert b"".join(result) == whole(made)
    assert len(result) > 20


@pytest.mark.parametrize("columns", [0, 1, 3, 10])
@pytest.mark.parametrize("name", ["cells", "measures"])
def test_rows_are_cut_between_rows(name: str, columns: int) -> None:
    table: Any = message("Table", columns=columns)
    getattr(table, name).extend([0, 1, 2**62, 300, 5] * 66)

    result = sliced(table, descriptor("Table"))

    assert b"".join(result) == whole(table, descriptor("Table"))
    assert len(result) > 20


def test_what_comes_in_turns_with_other_fields_keeps_its_order() -> None:
    one, other = message("Everything", texts=["a" * 9, "b"]), message("Everything", number=7)
    raw = (one.SerializeToString() + other.SerializeToString()) * 3

    result = b"".join(_sliced.slices(EVERYTHING, raw))

    assert result == whole(type(one).FromString(raw))


def test_a_message_with_a_way_of_its_own_is_not_cut() -> None:
    status = status_pb2.Status.DESCRIPTOR
    own = SlicedEncoder(Encoder({status.full_name: lambda value: {"code": value.code}}))
    raw = status_pb2.Status(code=5, message="x" * 100).SerializeToString()

    assert b"".join(own.slices(status, raw)) == b'{"code":5}'


@pytest.mark.parametrize(
    "raw",
    [b"\xff" * 20, b"\x0a\x7f" + bytes(20), b"\x09" + bytes(3), b"\x0b" * 20],
    ids=["no number", "cut off", "short number", "no kind"],
)
def test_what_is_no_message_is_told_so(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        list(_sliced.slices(EVERYTHING, raw * 3))


def test_a_large_message_is_made_in_many_slices_none_much_larger_than_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slices, "SLICE_BYTES", 2**10)
    made: Any = message("Everything")
    for number in range(5_000):
        made.children.add(number=number)

    result = sliced(made)

    assert len(result) > 20
    assert max(map(len, result)) < 5 * len(whole(made)) / len(result) + 2**10
