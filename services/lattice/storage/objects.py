"""Where bytes are kept under names, and what is promised by whoever keeps them."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

Bytes = bytes | bytearray | memoryview


class ObjectMissing(Exception):
    """Nothing is kept under a name."""


class ObjectExists(Exception):
    """Something is kept under a name already: what is kept never changes."""


class ObjectStore(Protocol):
    """Keeps bytes under names such as `a/b/c`, whose parts are letters, digits and `._-`.

    What is kept is durable when `put` returns, and never changes. Everything raises
    StorageUnavailable when the store cannot be reached, or has no room.
    """

    async def put(self, name: str, data: Sequence[Bytes]) -> None:
        """Keep some bytes, one behind the other; raises ObjectExists."""

    async def get(self, name: str) -> bytes:
        """All bytes under a name; raises ObjectMissing."""

    async def copy(self, source: str, target: str) -> None:
        """Keep the same under another name; raises ObjectMissing and ObjectExists."""

    async def settle(self, folder: str) -> None:
        """Make durable that there is what was put into a folder."""

    async def names(self, folder: str) -> Sequence[str]:
        """The names in a folder, without it. None where there is no such folder."""

    def folders(self, folder: str) -> AsyncIterator[str]:
        """The folders in a folder, without it."""

    async def remove(self, folder: str) -> None:
        """Keep nothing in a folder any more. It may be gone already."""

    async def tidy(self, age_s: float) -> None:
        """Remove what was begun so long ago and never finished by a process that was killed."""

    async def close(self) -> None:
        """Let go of what is held."""
