"""The JSON of large serialized messages, made a bounded slice at a time.

Making all of it at once would keep everybody else waiting: a megabyte of small messages takes
a quarter of a second. Here a message is cut where its fields end, and the pieces, which are
messages of the same type with a part of its fields, go through the encoder one by one.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from gateway.contract.descriptors import is_map, row_length_of
from gateway.transcoding.codec import WELL_KNOWN, Encoder
from services.plumbing import wire

SLICE_BYTES = 2**14
"""What a slice is made of: a millisecond or two, whatever it holds. A multiple of 8."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {
    FieldDescriptor.TYPE_DOUBLE: 8,
    FieldDescriptor.TYPE_FIXED64: 8,
    FieldDescriptor.TYPE_SFIXED64: 8,
    FieldDescriptor.TYPE_FLOAT: 4,
    FieldDescriptor.TYPE_FIXED32: 4,
    FieldDescriptor.TYPE_SFIXED32: 4,
}
"""The bytes of a packed number. Others are varints."""
_TEXTS = frozenset({FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES})
_MORE = 0x80
_MORE_BYTES = bytes(range(_MORE, 256))


class SlicedEncoder:
    """Encodes messages of any type that an encoder knows."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def slices(self, descriptor: Descriptor, raw: bytes) -> Iterator[bytes]:
        """The JSON of a serialized message in slices, some of which are empty.

        Together the text that `orjson.dumps` makes of what the encoder answers. A single text
        is never cut, nor is a map. Raises DecodeError, not always with the first slice.
        """
        if len(raw) <= SLICE_BYTES or not self._is_cut(descriptor):
            yield orjson.dumps(self._encode(descriptor, raw))
            return
        pieces = _Pieces(raw)
        yield from pieces.find()
        yield from self._members(descriptor, pieces)

    def _members(self, descriptor: Descriptor, pieces: "_Pieces") -> Iterator[bytes]:
        large = {
            field.number
            for field in descriptor.fields
            if pieces.size_bytes(field.number) > SLICE_BYTES and self._is_sliced(field)
        }
        rest = GetMessageClass(descriptor).FromString(pieces.without(large))
        shown = self._encoder.message(descriptor)(rest)
        before = b"{"
        for field in descriptor.fields:
            if field.number not in large and field.json_name not in shown:
                continue
            yield before + orjson.dumps(field.json_name) + b":"
            before = b","
            if field.number not in large:
                yield orjson.dumps(shown[field.json_name])
            elif field.is_repeated:
                yield from self._list(field, pieces, rest)
            else:
                # A message that comes in parts is what the parts are together.
                yield from self._message(field, b"".join(pieces.contents(field.number)))
        yield b"}"

    def _list(self, field: FieldDescriptor, pieces: "_Pieces", rest: Message) -> Iterator[bytes]:
        yield b"["
        before = b""
        for item in self._items(field, pieces, rest):
            if isinstance(item, bytes):
                yield before + item
            else:
                yield before
                yield from item
            before = b","
        yield b"]"

    def _items(
        self, field: FieldDescriptor, pieces: "_Pieces", rest: Message
    ) -> Iterator[bytes | Iterator[bytes]]:
        """The items of a list, some with commas between them; a large one in slices."""
        if field.message_type is None and field.type not in _TEXTS:
            yield from self._numbers(field, pieces, rest)
            return
        for piece in pieces.of(field.number):
            if piece.end - piece.begin > SLICE_BYTES and field.message_type is not None:
                yield self._message(field, pieces.content(piece))
            else:
                yield self._text(field, pieces.raw[piece.begin : piece.end])

    def _numbers(self, field: FieldDescriptor, pieces: "_Pieces", rest: Message) -> Iterator[bytes]:
        """Numbers, or whole rows of them. However they come, end to end they are packed."""
        row_length, beside = 1, b""
        if row := row_length_of(field):
            row_length = getattr(rest, row.name)
            beside = type(rest)(**{row.name: row_length}).SerializeToString()
        packed = b"".join(pieces.contents(field.number))
        for numbers in _cut_numbers(packed, _WIDTHS.get(field.type), max(1, row_length)):
            yield self._text(field, wire.field(field.number, numbers) + beside)

    def _text(self, field: FieldDescriptor, raw: bytes) -> bytes:
        message = field.containing_type
        assert message is not None, "every field is of a message"
        return orjson.dumps(self._encode(message, raw)[field.json_name])[1:-1]

    def _message(self, field: FieldDescriptor, raw: bytes) -> Iterator[bytes]:
        assert field.message_type is not None, "only messages are looked into"
        return self.slices(field.message_type, raw)

    def _encode(self, descriptor: Descriptor, raw: bytes) -> Any:  # noqa: ANN401 - for `dumps`
        return self._encoder.message(descriptor)(GetMessageClass(descriptor).FromString(raw))

    def _is_sliced(self, field: FieldDescriptor) -> bool:
        if field.message_type is None:
            return bool(field.is_repeated)
        return not is_map(field) and (field.is_repeated or self._is_cut(field.message_type))

    def _is_cut(self, descriptor: Descriptor) -> bool:
        name = descriptor.full_name
        return not (name.startswith(WELL_KNOWN) or self._encoder.shows_its_own_way(name))


class _Piece(NamedTuple):
    """Fields of one number that follow each other. One that is larger than a slice is alone."""

    number: int
    begin: int
    content: int
    """Where the content of the first field begins, behind its tag and its length."""
    end: int


class _Pieces:
    """Where a serialized message can be cut."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._pieces: dict[int, list[_Piece]] = {}

    def find(self) -> Iterator[bytes]:
        """Look through the message. Yields nothing, now and then, to be as slow as a slice."""
        at, looked_at = 0, 0
        piece = _Piece(0, 0, 0, 0)
        while at < len(self.raw):
            number, content, end = _field_at(self.raw, at)
            if number == piece.number and end - piece.begin <= SLICE_BYTES:
                piece = piece._replace(end=end)
            else:
                self._add(piece)
                piece = _Piece(number, at, content, end)
            at = end
            if at - looked_at > SLICE_BYTES:
                looked_at = at
                yield b""
        self._add(piece)

    def of(self, number: int) -> list[_Piece]:
        return self._pieces.get(number, [])

    def size_bytes(self, number: int) -> int:
        return sum(piece.end - piece.begin for piece in self.of(number))

    def content(self, piece: _Piece) -> bytes:
        return self.raw[piece.content : piece.end]

    def contents(self, number: int) -> Iterator[bytes]:
        """The content of a field each time it comes."""
        for piece in self.of(number):
            at = piece.begin
            while at < piece.end:
                _, content, end = _field_at(self.raw, at)
                yield self.raw[content:end]
                at = end

    def without(self, numbers: set[int]) -> bytes:
        """The message without these fields."""
        return b"".join(
            self.raw[piece.begin : piece.end]
            for number, pieces in self._pieces.items()
            if number not in numbers
            for piece in pieces
        )

    def _add(self, piece: _Piece) -> None:
        if piece.end:
            self._pieces.setdefault(piece.number, []).append(piece)


def _field_at(raw: bytes, at: int) -> tuple[int, int, int]:
    """The number of a field, where its content begins, and where it ends."""
    try:
        tag, content = (raw[at], at + 1) if raw[at] < _MORE else _varint_at(raw, at)
        kind = tag & 7
        if kind == _LENGTH:
            length = raw[content]
            content += 1
            if length >= _MORE:
                length, content = _varint_at(raw, content - 1)
            end = content + length
        elif kind == _VARINT:
            end = _varint_at(raw, content)[1]
        elif kind in (_FIXED64, _FIXED32):
            end = content + (8 if kind == _FIXED64 else 4)
        else:
            raise DecodeError("a message has a field of no kind")
    except IndexError:
        raise DecodeError("a message ends within a field") from None
    if end > len(raw):
        raise DecodeError("a message ends within a field")
    return tag >> 3, content, end


def _varint_at(raw: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    number = shift = 0
    while raw[at] >= _MORE and shift < 63:
        number |= (raw[at] & 0x7F) << shift
        shift += 7
        at += 1
    return number | raw[at] << shift, at + 1


def _cut_numbers(packed: bytes, width: int | None, row_length: int) -> Iterator[bytes]:
    """Packed numbers in parts of about a slice, each of whole rows.

    Without a width each number is a varint, which ends with its only byte below 128.
    """
    begin = 0
    while begin < len(packed):
        if width is not None:
            row_bytes = width * row_length
            end = begin + max(1, SLICE_BYTES // row_bytes) * row_bytes
        else:
            end = begin + SLICE_BYTES
            count = len(packed[begin:end].translate(None, _MORE_BYTES))
            while end < len(packed) and (count % row_length or packed[end - 1] >= _MORE):
                count += packed[end] < _MORE
                end += 1
        yield packed[begin:end]
        begin = end
