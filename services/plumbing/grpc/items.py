"""How many items the lists of a message hold, counted in its bytes before it is parsed.

An item of two bytes becomes an object of a hundred and more: 8 MiB of them would be hundreds
of MiB before anybody could look at their number. Knows the wire format and the contract.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from girih.rules.words import rules_of
from services.plumbing import wire
from services.plumbing.errors import InvalidInput

SMALL_BYTES: Final = 2**16
"""Up to here a message is parsed as it is: it becomes some MiB at most."""

_VARINT, _FIXED_64, _LENGTH_DELIMITED, _GROUP, _GROUP_END, _FIXED_32 = range(6)
_VARINT_BYTES_MAX: Final = 10
_DELIMITED: Final = (
    FieldDescriptor.TYPE_MESSAGE,
    FieldDescriptor.TYPE_STRING,
    FieldDescriptor.TYPE_BYTES,
)


@dataclass(frozen=True)
class ItemLimits:
    """What a type of message may hold in its own lists, and in those within their items."""

    items_max: Mapping[int, int]
    """By the field's number, of lists whose items are messages, texts or bytes."""
    fields_max: int
    """As many fields as the bytes of a message may have, with each item as one."""
    within: "Mapping[int, ItemLimits]" = field(default_factory=dict)
    """The same of each item, by the number of its list, where items have lists as well."""

    @classmethod
    def of(cls, descriptor: Descriptor) -> "ItemLimits | None":
        """As the contract has them; None where it lets a list be as long as it likes."""
        limits = cls._of_own(descriptor)
        if limits is None:
            return None
        within = {
            number: inner
            for number in limits.items_max
            if (item := descriptor.fields_by_number[number].message_type) is not None
            and (inner := cls._of_own(item)) is not None
            and inner.items_max
        }
        return replace(limits, within=within)

    @classmethod
    def _of_own(cls, descriptor: Descriptor) -> "ItemLimits | None":
        lists = {one: _items_max(one) for one in descriptor.fields if one.is_repeated}
        if not lists or None in lists.values():
            return None
        known = {one: most for one, most in lists.items() if most is not None}
        return cls(
            {one.number: most for one, most in known.items() if one.type in _DELIMITED},
            sum(known.values()) + len(descriptor.fields),
        )

    def cut(self, data: bytes) -> bytes:
        """The bytes of a message, up to the first item that is one too many for its list.

        What is left is refused as the whole would be, by the check of the rules. Takes 0.3 us
        for each field, and a millisecond for some MiB. Raises `InvalidInput` for more fields
        than messages of the type can have.
        """
        if len(data) <= SMALL_BYTES:
            return data
        try:
            data = data[: self._end(data)]
            are_too_many = (
                inner.may_exceed(data, self.items_max[number])
                for number, inner in self.within.items()
            )
            return self._cut_within(data) if any(are_too_many) else data
        except _Malformed:
            return data  # which the parser refuses

    def may_exceed(self, data: bytes, message_count: int = 1) -> bool:
        """Whether `data`, which holds up to so many messages of the type, may have more items
        than these together. The bytes alone are counted with which an item would begin.
        """
        return any(
            _count_is_over(data, _first_bytes(number), message_count * most)
            for number, most in self.items_max.items()
        )

    def _cut_within(self, data: bytes) -> bytes:
        """What is left when the first item that has too many of its own ends with them."""
        position = 0
        while position < len(data):
            start = position
            tag, position = _varint(data, position)
            if tag & 7 != _LENGTH_DELIMITED:
                position = _behind(data, position, tag & 7)
                continue
            length, position = _varint(data, position)
            item = data[position : position + length]
            position += length
            inner = self.within.get(tag >> 3)
            if inner is not None and inner.may_exceed(item):
                end = inner._end(item)
                if end < len(item):
                    return data[:start] + wire.field(tag >> 3, item[:end])
        return data

    def _end(self, data: bytes) -> int:
        """Where the first item ends that is one too many, or else the message."""
        position, end = 0, len(data)
        left = dict(self.items_max)
        for _ in range(self.fields_max):
            if position >= end:
                return end
            # As a rule it takes one byte, and then no call.
            tag = data[position]
            position += 1
            if tag > 0x7F:
                tag, position = _varint(data, position - 1)
            if tag & 7 != _LENGTH_DELIMITED:
                position = _behind(data, position, tag & 7)
                continue
            # An event has a length of two, and mostly needs no call either.
            if position + 1 < end and data[position + 1] < 0x80 <= data[position]:
                length = data[position] & 0x7F | data[position + 1] << 7
                position += 2
            else:
                length, position = _varint(data, position)
            position += length
            number = tag >> 3
            if number in left:
                left[number] -= 1
                if left[number] < 0:
                    return position
        if position < end:
            raise InvalidInput(f"the message must have at most {self.fields_max:,} fields")
        return end


def _count_is_over(data: bytes, ones: Sequence[bytes], most: int) -> bool:
    """Whether `data` holds more than so many of some bytes, with each of which two bytes begin."""
    if len(data) <= 2 * most:
        return False
    count = 0
    for start in range(0, len(data), SMALL_BYTES):
        count += sum([data.count(one, start, start + SMALL_BYTES) for one in ones])
        if count > most:
            return True
    return False


def _first_bytes(number: int) -> tuple[bytes, bytes]:
    """With which an item begins of the list of that number, in few bytes or in more."""
    bits = (number << 3 | _LENGTH_DELIMITED) & 0x7F
    return bytes([bits]), bytes([bits | 0x80])


class _Malformed(Exception):
    """The bytes are no message."""


def _items_max(field: FieldDescriptor) -> int | None:
    rules = rules_of(field)
    if rules.map.HasField("max_pairs"):
        return rules.map.max_pairs
    return rules.repeated.max_items if rules.repeated.HasField("max_items") else None


def _behind(data: bytes, position: int, wire_type: int) -> int:
    """Where a value ends that begins at `position` and has no length of its own before it."""
    if wire_type == _VARINT:
        return _varint(data, position)[1]
    if wire_type in (_GROUP, _GROUP_END):
        return position  # the fields of a group, which no message of ours has, count as well
    if wire_type == _FIXED_64:
        return position + 8
    if wire_type == _FIXED_32:
        return position + 4
    raise _Malformed


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number, and where it ends."""
    end = len(data)
    if position < end and (number := data[position]) < 0x80:
        return number, position + 1
    if position + 1 < end and (second := data[position + 1]) < 0x80:
        return number & 0x7F | second << 7, position + 2
    number = 0
    for count, byte in enumerate(data[position : position + _VARINT_BYTES_MAX]):
        number |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return number, position + count + 1
    raise _Malformed
