"""Which sites of a part of a lattice are blocked, as a caller says: checked, and put into it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.domain import BitOrder, LatticeSpec, reordered
from services.lattice.operations.sites import Region, selection
from services.plumbing.errors import InvalidInput, Violations


@dataclass(frozen=True, kw_only=True)
class BlockedPatch:
    """The bits of some sites of a region, the lowest of a byte first, in C order of the region."""

    region: Region
    blocked: bytes
    written: bytes
    """Which sites of the region are meant; empty means all."""

    @property
    def digest(self) -> str:
        """The SHA-256 of all that it says: other patches have another one."""
        head = f"{self.region.origin} {self.region.shape} {len(self.written)} "
        return hashlib.sha256(head.encode() + self.written + self.blocked).hexdigest()

    def put_into(self, blocked: NDArray[Any]) -> None:
        """Write into an array of the lattice's shape, 1 where a site is blocked."""
        box = blocked[
            tuple(
                slice(begin, begin + length)
                for begin, length in zip(self.region.origin, self.region.shape, strict=True)
            )
        ]
        bits = _bits(self.blocked, self.region)
        if self.written:
            np.copyto(box, bits, where=_bits(self.written, self.region).astype(np.bool_))
        else:
            box[...] = bits


def patch_of(
    spec: LatticeSpec,
    region: tuple[Sequence[int], Sequence[int]],
    blocked: bytes,
    written: bytes,
    bit_order: BitOrder | None,
) -> BlockedPatch:
    """Check what is to be written; raises InvalidInput naming every bad field."""
    bad = Violations()
    chosen = selection(spec.geometry, (), region, bad)
    bad.raise_if_any()
    assert chosen is not None, "nothing is bad"
    assert chosen.region is not None, "it was asked for"
    if bit_order is None:
        raise InvalidInput.of("bit_order", "must be given")
    blocked, written = reordered(blocked, bit_order), reordered(written, bit_order)
    _check_bits(blocked, "blocked", chosen.region, bad)
    if written:
        _check_bits(written, "written", chosen.region, bad)
    bad.raise_if_any()
    return BlockedPatch(region=chosen.region, blocked=blocked, written=written)


def _check_bits(bits: bytes, field: str, region: Region, bad: Violations) -> None:
    length = -(-region.sites // 8)
    if len(bits) != length:
        bad.add(field, f"must be {length} bytes long, not {len(bits)}")
    elif region.sites % 8 and bits[-1] >> region.sites % 8:
        bad.add(field, "must have no bit set beyond the last site, as bit_order has it")


def _bits(bitmap: bytes, region: Region) -> NDArray[np.uint8]:
    packed = np.frombuffer(bitmap, np.uint8)
    return np.unpackbits(packed, count=region.sites, bitorder="little").reshape(region.shape)
