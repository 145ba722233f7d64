"""Bits are kept in one order, whichever they came in and however many they are."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

from services.lattice.arrays.content_digest import ContentDigest
from services.lattice.domain import BitOrder
from services.lattice.fields.incoming import Incoming
from services.lattice.uploads.bits import read_bitmap


@pytest.mark.parametrize("order", BitOrder)
@pytest.mark.parametrize("size_bytes", [1, 1 << 20, (1 << 20) + 3])
async def test_bits_are_kept_in_one_order(order: BitOrder, size_bytes: int) -> None:
    bits = np.random.default_rng(1).random(8 * size_bytes) < 0.5
    sent = np.packbits(bits, bitorder="big" if order is BitOrder.BIG else "little").tobytes()

    async def pieces() -> AsyncIterator[bytes]:
        yield sent

    kept = await read_bitmap(Incoming(pieces()), len(bits), order, ContentDigest(""))

    assert kept == np.packbits(bits, bitorder="little").tobytes()
