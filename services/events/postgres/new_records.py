"""Records to be inserted, as PostgreSQL takes an array of them from the wire. Knows no log.

The driver would encode rows in one piece, on the event loop: 95 ms for 5,000 events of 20 tags. So
it is given bytes.

An array is its dimensions, the number of its elements' type, which each database has its own of,
and the elements, each behind its length. An element is how many columns it has, and each behind
the number of its type and its length, which is -1 for NULL.
"""

import asyncio
import socket
from binascii import unhexlify
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Final, NoReturn, cast

import asyncpg

from services.events.domain import PlacedEvent
from services.plumbing.postgres.opening import RawConnection
from services.plumbing.postgres.sql import load

_AT_A_TIME: Final = 100
"""So many take less than a millisecond, with as many tags as they may have."""

_SEND_BUFFER_BYTES: Final = 2**20
"""What the system takes of a batch at once: twice of it, and of `net.core.wmem_max` at most."""

_INT8, _BYTEA, _TEXT, _TEXTS, _UUID = 20, 17, 25, 1009, 2950
"""The numbers of built-in types, which are the same everywhere."""

_array_head = Struct(">iiIii")
_field_head = Struct(">Ii").pack
_length = Struct(">i").pack

_COLUMN_COUNT: Final = 9
_INT8_HEAD: Final = _field_head(_INT8, 8)
_UUID_HEAD: Final = _field_head(_UUID, 16)
_ELEMENT_HEAD: Final = _length(_COLUMN_COUNT) + _INT8_HEAD
_first_columns = Struct(">i12sq8sq8s16s").pack
"""The element's length and how many columns it has, and the first three of them."""
_FIXED_BYTES: Final = 4 + 3 * 8 + 8 + 8 + 16 + 3 * 8
"""Of an element, beside what differs in length: the heads of three such columns included."""
_NO_TAGS: Final = _field_head(_TEXTS, -1)


class NewRecords:
    """An `events.new_record[]`, but for the number of its type."""

    def __init__(self) -> None:
        self._count = 0
        self._encoded = bytearray(_array_head.size)

    async def add(self, placed: Sequence[PlacedEvent], headers: Sequence[bytes]) -> None:
        """Add a record for each event, with its header. Lets other calls run in between. Takes a
        microsecond for each, and as much again for five tags.
        """
        for start in range(0, len(placed), _AT_A_TIME):
            if start:
                await asyncio.sleep(0)
            end = start + _AT_A_TIME
            self._add(placed[start:end], headers[start:end])

    def of_type(self, number: int) -> bytearray:
        """All of it. Copies nothing."""
        _array_head.pack_into(self._encoded, 0, 1, 0, number, self._count, 1)
        return self._encoded

    def _add(self, placed: Sequence[PlacedEvent], headers: Sequence[bytes]) -> None:
        parts: list[bytes] = []
        for (event, _, stream_number, revision, context), header in zip(
            placed, headers, strict=True
        ):
            event_id, _, event_type, own_tags, digest, _, payload, _ = event
            before_digest = _before_digest(event_type, context.correlation_id)
            tags = _tags(own_tags) if own_tags else _NO_TAGS
            header_bytes, payload_bytes = len(header), len(payload)
            fixed = _FIXED_BYTES + len(before_digest) + len(digest) + len(tags)
            parts += (
                _first_columns(
                    fixed + header_bytes + payload_bytes,
                    _ELEMENT_HEAD, stream_number,
                    _INT8_HEAD, revision,
                    _UUID_HEAD, unhexlify(event_id.replace("-", "")),
                ),
                before_digest,
                _bytes_head(len(digest)),
                digest,
                tags,
                _bytes_head(header_bytes),
                header,
                _bytes_head(payload_bytes),
                payload,
            )  # fmt: skip
        self._encoded += b"".join(parts)
        self._count += len(placed)


@lru_cache(maxsize=1_024)
def _before_digest(event_type: str, correlation_id: str) -> bytes:
    """The columns that most records of a call have in common."""
    return _text(event_type) + _text(correlation_id)


@lru_cache(maxsize=16_384)
def _bytes_head(byte_count: int) -> bytes:
    """Lengths recur: to ask for it takes half as long as to make it."""
    return _field_head(_BYTEA, byte_count)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _field_head(_TEXT, len(encoded)) + encoded


def _tags(tags: Sequence[str]) -> bytes:
    texts = [tag.encode() for tag in tags]
    parts = [_array_head.pack(1, 0, _TEXT, len(texts), 1)]
    for text in texts:
        parts += (_length(len(text)), text)
    encoded = b"".join(parts)
    return _field_head(_TEXTS, len(encoded)) + encoded


async def take_encoded(connection: RawConnection) -> None:
    """Have a connection take `NewRecords`. Asks which numbers their types have in its database."""
    row = await connection.fetchrow(load("services.events.postgres.sql", "select_record_types"))
    number, number_of_array = cast("asyncpg.Record", row)
    # As `set_type_codec` does, which refuses arrays; its stubs leave out what it uses.
    protocol = connection._protocol  # type: ignore[attr-defined]
    protocol.get_settings().add_python_codec(
        number_of_array,
        "new_record[]",
        "events",
        [],
        "scalar",
        lambda records: records.of_type(number),
        _never_read,
        "binary",
    )
    _widen(connection)


def _widen(connection: RawConnection) -> None:
    """Have a batch on its way to a server beside this process in one turn of the event loop: 1,000
    records do not fit into what a socket takes, and the rest waits for a turn each time.

    Not over the network, where the system finds out by itself how much may be on its way.
    """
    own = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
    if own.family == getattr(socket, "AF_UNIX", None):
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)


def _never_read(_encoded: bytes) -> NoReturn:
    raise asyncpg.InterfaceError("records are read column by column")
