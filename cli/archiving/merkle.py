"""The root of a Merkle tree as in RFC 6962, over leaves that come one by one. Knows no log."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

EMPTY_ROOT: Final = sha256().digest()


class Peak(NamedTuple):
    """A tree over a power of two of leaves that is complete."""

    leaf_count: int
    digest: bytes


class MerkleTree:
    """What is kept of a tree to add to it: one digest for each bit of its number of leaves."""

    def __init__(self, peaks: Iterable[Peak] = ()) -> None:
        self._peaks = list(peaks)

    @property
    def peaks(self) -> Sequence[Peak]:
        """The largest first."""
        return self._peaks

    @property
    def leaf_count(self) -> int:
        return sum(peak.leaf_count for peak in self._peaks)

    def add(self, leaf: bytes) -> None:
        """One more leaf, by its digest. Costs two digests on average."""
        peak = Peak(1, leaf)
        while self._peaks and self._peaks[-1].leaf_count == peak.leaf_count:
            left = self._peaks.pop()
            peak = Peak(2 * peak.leaf_count, _node(left.digest, peak.digest))
        self._peaks.append(peak)

    def root(self) -> bytes:
        """Of all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        digest = self._peaks[-1].digest
        for peak in reversed(self._peaks[:-1]):
            digest = _node(peak.digest, digest)
        return digest


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
