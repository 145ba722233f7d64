"""The Ising model, 64 spins of one colour of the chequerboard at a time (multi-spin coding).

Rows run along the last axis. The spins of one colour in a row are the bits of words, the lowest
first, 1 being up: bit j of colour c belongs to the site 2 j + (parity of the row + c) % 2. So of
the two neighbours along the row one is the same bit of the other colour, and one the bit beside
it. Each spin has a random number of its own, revealed from its highest bit on until it is known
to be below the probability or not: about ten words of bits decide 512 spins, each to its last bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.compiled import Untyped, inlined, kernel
from services.lattice.kernels.simulations.random import (
    DRAWN,
    LANE_ROWS,
    LANES,
    Bits,
    counter,
    seed_lanes,
    turn_lanes,
)

LEVELS = 3
"""Turning a spin may break 1, 2 or 3 pairs more than it joins, with that many thresholds."""
SCRATCH_ROWS = LANE_ROWS + 2 + LEVELS + 1
BLOCK_WORDS = 512
"""About so many words have generators of their own in each half step."""

_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_TOP = np.uint64(63)
_OPEN, _TURNED, _LEVEL = LANE_ROWS, LANE_ROWS + 1, LANE_ROWS + 2
_PLACE = _LEVEL + LEVELS


@dataclass(frozen=True, eq=False)
class Board:
    """How the words of a lattice lie, which has 2 or 3 periodic axes of even length."""

    shape: tuple[int, ...]
    near: NDArray[np.int32]
    """Of shape (rows, 2 (axes - 1)): the rows beside each."""
    parity: NDArray[np.uint8]
    """Of shape (rows,)."""
    bits: int
    """Of each colour in a row."""
    rows_per_block: int

    @property
    def rows(self) -> int:
        return len(self.parity)

    @property
    def words(self) -> int:
        """Of each colour in a row."""
        return -(-self.bits // 64)

    @property
    def blocks(self) -> int:
        return -(-self.rows // self.rows_per_block)

    @classmethod
    def of(cls, shape: Sequence[int]) -> "Board":
        outer, bits = tuple(shape[:-1]), shape[-1] // 2
        numbers = np.arange(np.prod(outer), dtype=np.int32).reshape(outer)
        near = [np.roll(numbers, by, axis).ravel() for axis in range(len(outer)) for by in (1, -1)]
        return cls(
            shape=tuple(shape),
            near=np.ascontiguousarray(np.stack(near, axis=1)),
            parity=(np.indices(outer).sum(axis=0).ravel() % 2).astype(np.uint8),
            bits=bits,
            rows_per_block=max(1, BLOCK_WORDS // -(-bits // 64)),
        )


def packed(board: Board, up: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Spins, an array of the lattice's shape, as words of shape (2, rows, words)."""
    rows = up.reshape(board.rows, -1)
    words = np.zeros((2, board.rows, board.words * 8), np.uint8)
    for colour in range(2):
        for parity in range(2):
            which = board.parity == parity
            bits = rows[which, (parity + colour) % 2 :: 2]
            packed_bits = np.packbits(bits, axis=1, bitorder="little")
            words[colour, which, : packed_bits.shape[1]] = packed_bits
    return words.view("<u8").astype(np.uint64, copy=False)


def unpacked(board: Board, words: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """The spins that words hold, as an array of the lattice's shape."""
    rows = np.empty((board.rows, board.shape[-1]), np.bool_)
    for colour in range(2):
        for parity in range(2):
            which = board.parity == parity
            bits = words[colour, which].view(np.uint8)
            rows[which, (parity + colour) % 2 :: 2] = np.unpackbits(
                bits, axis=1, count=board.bits, bitorder="little"
            )
    return rows.reshape(board.shape)


def thresholds_at(temperature: float) -> NDArray[np.uint64]:
    """The probabilities exp(-4 k / T), k = 1, 2, 3, as fractions of 2^64; of shape (LEVELS,)."""
    chances = [np.exp(-4.0 * (level + 1) / temperature) for level in range(LEVELS)]
    return np.array([min(int(chance * 2.0**64), 2**64 - 1) for chance in chances], np.uint64)


def scratch() -> NDArray[np.uint64]:
    """What one thread works in."""
    return np.zeros((SCRATCH_ROWS, LANES), np.uint64)


@inlined
def _beside(words: NDArray[np.uint64], word: int, last_bits: int, up: bool) -> Bits:
    """The neighbours along a row that are not the same bit: one on, or one back, around the row."""
    last = words.shape[0] - 1
    top = np.uint64(last_bits - 1)
    if up:
        if word < last:
            return (words[word] >> _ONE) | (words[word + 1] << _TOP)
        return (words[word] >> _ONE) | ((words[0] & _ONE) << top)
    if word > 0:
        return (words[word] << _ONE) | (words[word - 1] >> _TOP)
    return (words[0] << _ONE) | ((words[last] >> top) & _ONE)


@inlined
def _decide(lanes: NDArray[np.uint64], thresholds: NDArray[np.uint64], turns: Bits) -> Bits:
    """Turn the spins of all lanes whose random number is below their level's threshold.

    `_OPEN` has those that are not decided yet, `_LEVEL` and on which level each is of. Answers
    how often the generators were turned in all.
    """
    bit = np.uint64(63)
    for _ in range(64):
        turns += _ONE
        turn_lanes(lanes, turns)
        first = _ZERO - ((thresholds[0] >> bit) & _ONE)
        second = _ZERO - ((thresholds[1] >> bit) & _ONE)
        third = _ZERO - ((thresholds[2] >> bit) & _ONE)
        left = _ZERO
        for lane in range(LANES):
            limit = (
                (lanes[_LEVEL, lane] & first)
                | (lanes[_LEVEL + 1, lane] & second)
                | (lanes[_LEVEL + 2, lane] & third)
            )
            drawn, undecided = lanes[DRAWN, lane], lanes[_OPEN, lane]
            lanes[_TURNED, lane] |= undecided & limit & ~drawn
            undecided &= ~(limit ^ drawn)
            lanes[_OPEN, lane] = undecided
            left |= undecided
        if left == _ZERO:
            break
        bit -= _ONE
    return turns


@inlined
def _settle(
    own: NDArray[np.uint64],
    lanes: NDArray[np.uint64],
    filled: int,
    thresholds: NDArray[np.uint64],
    turns: Bits,
) -> Bits:
    """Decide the words of the first lanes and turn their spins."""
    for lane in range(filled, LANES):
        lanes[_OPEN, lane] = _ZERO
    turns = _decide(lanes, thresholds, turns)
    for lane in range(filled):
        place = lanes[_PLACE, lane]
        row = np.int64(place // np.uint64(own.shape[1]))
        word = np.int64(place % np.uint64(own.shape[1]))
        own[row, word] ^= lanes[_TURNED, lane]
    return turns


@kernel
def turn_block(
    words: NDArray[np.uint64],
    near: NDArray[np.int32],
    parity: NDArray[np.uint8],
    bits: int,
    rows_per_block: int,
    thresholds: NDArray[np.uint64],
    seed: int,
    step: int,
    colour: int,
    block: int,
    lanes: NDArray[np.uint64],
) -> None:
    """Offer the spins of one colour in a block of rows to be turned, once each.

    Changes words[colour] of the block, and reads words[1 - colour]: blocks may be computed at the
    same time. Around 0.2 to 0.5 ns a spin.
    """
    own, other = words[colour], words[1 - colour]
    rows, count = other.shape
    last_bits = bits - 64 * (count - 1)
    tail = _ALL >> np.uint64(64 - last_bits)
    seed_lanes(lanes, np.uint64(seed), counter(step, 1 + colour), block)
    turns: Bits = np.uint64(100)
    filled = 0
    for row in range(block * rows_per_block, min(rows, (block + 1) * rows_per_block)):
        up = (parity[row] + colour) % 2 == 1
        for word in range(count):
            spins = own[row, word]
            inside = tail if word == count - 1 else _ALL
            x0 = spins ^ other[row, word]
            x1 = spins ^ _beside(other[row], word, last_bits, up)
            x2 = spins ^ other[near[row, 0], word]
            x3 = spins ^ other[near[row, 1], word]
            if near.shape[1] == 2:
                # Of four neighbours: none, one, or two and more point the other way.
                none = ~(x0 | x1 | x2 | x3)
                one = ((x0 ^ x1) ^ (x2 ^ x3)) & ~((x0 & x1) | (x2 & x3))
                lanes[_LEVEL, filled] = one
                lanes[_LEVEL + 1, filled] = none
                lanes[_LEVEL + 2, filled] = _ZERO
                costly = none | one
            else:
                x4 = spins ^ other[near[row, 2], word]
                x5 = spins ^ other[near[row, 3], word]
                s0, c0 = x0 ^ x1 ^ x2, (x0 & x1) | (x2 & (x0 ^ x1))
                s1, c1 = x3 ^ x4 ^ x5, (x3 & x4) | (x5 & (x3 ^ x4))
                b0, k = s0 ^ s1, s0 & s1
                b1, b2 = c0 ^ c1 ^ k, (c0 & c1) | (k & (c0 ^ c1))
                lanes[_LEVEL, filled] = ~b0 & b1 & ~b2
                lanes[_LEVEL + 1, filled] = b0 & ~b1 & ~b2
                lanes[_LEVEL + 2, filled] = ~(b0 | b1 | b2)
                costly = ~b2 & ~(b0 & b1)
            lanes[_OPEN, filled] = costly & inside
            lanes[_TURNED, filled] = ~costly & inside
            lanes[_PLACE, filled] = np.uint64(row * count + word)
            filled += 1
            if filled == LANES:
                turns = _settle(own, lanes, filled, thresholds, turns)
                filled = 0
    if filled:
        _settle(own, lanes, filled, thresholds, turns)


@kernel
def turn_all(
    words: NDArray[np.uint64],
    near: NDArray[np.int32],
    parity: NDArray[np.uint8],
    bits: int,
    rows_per_block: int,
    thresholds: NDArray[np.uint64],
    seed: int,
    first_step: int,
    step_count: int,
    lanes: NDArray[np.uint64],
) -> None:
    """Take some steps one after the other: the same as the blocks of each, colour by colour."""
    blocks = (words.shape[1] + rows_per_block - 1) // rows_per_block
    for step in range(first_step, first_step + step_count):
        for colour in range(2):
            for block in range(blocks):
                turn_block(
                    words,
                    near,
                    parity,
                    bits,
                    rows_per_block,
                    thresholds,
                    seed,
                    step,
                    colour,
                    block,
                    lanes,
                )


@inlined
def _ones(word: Bits) -> Untyped:
    """The number of bits that are set."""
    word -= (word >> _ONE) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + (
        (word >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@kernel
def measure(
    words: NDArray[np.uint64],
    near: NDArray[np.int32],
    parity: NDArray[np.uint8],
    bits: int,
    sums: NDArray[np.int64],
) -> None:
    """Write the pairs of neighbours that differ, and the spins that are up, into `sums` (2,).

    Each pair has one spin of either colour: those around all spins of colour 0 are all.
    """
    own, other = words[0], words[1]
    rows, count = other.shape
    last_bits = bits - 64 * (count - 1)
    tail = _ALL >> np.uint64(64 - last_bits)
    differing, ups = 0, 0
    for row in range(rows):
        up = parity[row] == 1
        for word in range(count):
            spins = own[row, word]
            inside = tail if word == count - 1 else _ALL
            ups += _ones(spins) + _ones(other[row, word])
            differing += _ones((spins ^ other[row, word]) & inside)
            differing += _ones((spins ^ _beside(other[row], word, last_bits, up)) & inside)
            for side in range(near.shape[1]):
                differing += _ones((spins ^ other[near[row, side], word]) & inside)
    sums[0], sums[1] = differing, ups
