"""Bits of a word, each one instruction of the machine."""

from typing import Any, TypeAlias

from llvmlite import ir  # type: ignore[import-untyped]  # it has none
from numba import types
from numba.extending import intrinsic

Untyped: TypeAlias = Any
"""What the compiler hands to code that writes code has no types of its own."""


def _lowest_bit(_context: Untyped, _word: Untyped) -> Untyped:
    def emit(_codegen: Untyped, builder: Untyped, _types: Untyped, words: Untyped) -> Untyped:
        return builder.cttz(words[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), emit


def _highest_bit(_context: Untyped, _word: Untyped) -> Untyped:
    def emit(_codegen: Untyped, builder: Untyped, _types: Untyped, words: Untyped) -> Untyped:
        zeros = builder.ctlz(words[0], ir.Constant(ir.IntType(1), 0))
        return builder.sub(ir.Constant(ir.IntType(64), 63), zeros)

    return types.int64(types.uint64), emit


lowest_bit: Untyped = intrinsic(_lowest_bit)
"""The position of the lowest set bit of a uint64; 64 when none is set."""
highest_bit: Untyped = intrinsic(_highest_bit)
"""The position of the highest set bit of a uint64; -1 when none is set."""
