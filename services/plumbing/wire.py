"""The few bytes that protobuf puts around a field, for messages put together from bytes."""

_LENGTH_DELIMITED = 2


def varint(number: int) -> bytes:
    """`number`, 0 or more, seven bits to the byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def tag(field_number: int) -> int:
    """What stands before the length of a message, a text, bytes or packed numbers."""
    return field_number << 3 | _LENGTH_DELIMITED


def field(field_number: int, content: bytes) -> bytes:
    """A field that holds `content`, with its tag and its length."""
    return field_head(field_number, len(content)) + content


def field_head(field_number: int, byte_count: int) -> bytes:
    """What stands before the content of a field: its tag and its length."""
    return varint(tag(field_number)) + varint(byte_count)
