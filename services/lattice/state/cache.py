"""Keeps values up to a number of bytes. Knows nothing of what it keeps."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True)
class _Entry(Generic[Value]):
    value: Value
    size_bytes: int


class ByteCache(Generic[Key, Value]):
    """A mapping that drops what was used longest ago to stay within its bytes.

    A value larger than all of it is not kept at all. Not for use from several threads.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_held = 0
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """The value kept, which is now the one used last."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry.value

    def peek(self, key: Key) -> Value | None:
        """The value kept, without counting as a use."""
        entry = self._entries.get(key)
        return entry.value if entry else None

    def put(self, key: Key, value: Value, size_bytes: int) -> None:
        self.drop(key)
        if size_bytes > self.bytes_max:
            return
        self._entries[key] = _Entry(value, size_bytes)
        self.bytes_held += size_bytes
        while self.bytes_held > self.bytes_max:
            self.drop(next(iter(self._entries)))

    def drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes_held -= entry.size_bytes
