"""Keeps values up to a number of bytes. Knows nothing of what it keeps."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import Cache, LRUCache

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
        self.hits = 0
        self.misses = 0
        self._entries: LRUCache[Key, _Entry[Value]] = LRUCache(bytes_max, _size_of)

    def __len__(self) -> int:
        return len(self._entries)

    def kept(self) -> list[Key]:
        """The keys under which something is kept, now."""
        return list(self._entries)

    @property
    def bytes_held(self) -> int:
        return int(self._entries.currsize)

    def get(self, key: Key) -> Value | None:
        """The value kept, which is now the one used last."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        return entry.value

    def peek(self, key: Key) -> Value | None:
        """The value kept, without counting as a use."""
        if key not in self._entries:
            return None
        return Cache.__getitem__(self._entries, key).value

    def put(self, key: Key, value: Value, size_bytes: int) -> None:
        """Keep a value in place of the one that was kept, as the one used last."""
        self.drop(key)
        if size_bytes <= self.bytes_max:
            self._entries[key] = _Entry(value, size_bytes)

    def drop(self, key: Key) -> None:
        """Keep nothing under a key."""
        self._entries.pop(key, None)


def _size_of(entry: _Entry[Value]) -> int:
    return entry.size_bytes
