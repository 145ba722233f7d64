"""The few bytes that protobuf puts around a field, for messages put together from bytes."""

from functools import lru_cache
from typing import Final

LENGTH_DELIMITED = 2
"""The kind of field, in the three lowest bits of its tag, whose length follows."""

_LAST: Final = tuple(bytes([number]) for number in range(0x80))
_NOT_LAST: Final = tuple(bytes([number | 0x80]) for number in range(0x80))


def varint(number: int) -> bytes:
    """`number`, 0 or more, seven bits to the byte, the lowest first."""
    if number <= 0x7F:
        return _LAST[number]
    return _NOT_LAST[number & 0x7F] + _rest(number >> 7)


@lru_cache(maxsize=4_096)
def _rest(number: int) -> bytes:
    """Positions next to each other have it in common, and lengths: it is made once for many."""
    return varint(number)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends. `data` is known to be well-formed."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def tag(field_number: int) -> int:
    """What stands before the length of a message, a text, bytes or packed numbers."""
    return field_number << 3 | LENGTH_DELIMITED


def field(field_number: int, content: bytes) -> bytes:
    """A field that holds `content`, with its tag and its length."""
    return field_head(field_number, len(content)) + content


def field_head(field_number: int, byte_count: int) -> bytes:
    """What stands before the content of a field: its tag and its length."""
    return varint(tag(field_number)) + varint(byte_count)
