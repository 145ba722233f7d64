"""The bytes of an upload as they come, in pieces of any size. Holds one piece at a time."""

from collections.abc import AsyncIterator

from services.lattice.arrays import npy
from services.lattice.arrays.npy import NpyHeader
from services.plumbing.errors import InvalidInput


class Incoming:
    """Takes as many bytes as are asked for from pieces that come one after the other."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")
        self.taken = 0
        """How many bytes were taken."""

    async def fill(self, target: memoryview) -> int:
        """Fill all of `target`, or as much of it as there is; how much that was."""
        filled = 0
        while filled < len(target) and await self._has_more():
            part = self._piece[: len(target) - filled]
            target[filled : filled + len(part)] = part
            self._piece = self._piece[len(part) :]
            filled += len(part)
        self.taken += filled
        return filled

    async def take(self, count: int) -> bytes:
        """Exactly so many bytes, which are few; raises InvalidInput where there are fewer."""
        data = bytearray(count)
        if await self.fill(memoryview(data)) < count:
            raise InvalidInput.of("body", f"must not end within its first {self.taken + 1} bytes")
        return bytes(data)

    async def check_end(self, expected: int) -> None:
        """Raise InvalidInput when there is any more."""
        if await self._has_more():
            raise InvalidInput.of("body", f"must be {expected:,} bytes long, and is longer")

    async def npy_header(self) -> tuple[NpyHeader, bytes]:
        """The header of a `.npy` file, which comes first, and its bytes."""
        begin = await self.take(12)
        length = npy.head_bytes(begin)
        assert length is not None, "twelve bytes tell"
        head = begin + await self.take(length - len(begin))
        return npy.read_header(head), head

    async def _has_more(self) -> bool:
        while not self._piece:
            piece = await anext(self._pieces, None)
            if piece is None:
                return False
            self._piece = memoryview(piece)
        return True
