"""Word to memory of what a kernel comes to soon."""

from typing import Any, TypeAlias

from llvmlite import ir  # type: ignore[import-untyped]  # it has none
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

Untyped: TypeAlias = Any
"""What the compiler hands to code that writes code has no types of its own."""

_cgutils: Untyped = cgutils


def _prefetched(_context: Untyped, numbers: Untyped, _at: Untyped) -> Untyped:
    def emit(context: Untyped, builder: Untyped, taken: Untyped, given: Untyped) -> Untyped:
        array = context.make_array(taken.args[0])(context, builder, given[0])
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        takes = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        prefetch = _cgutils.get_or_insert_function(builder.module, takes, "llvm.prefetch.p0i8")
        place = builder.bitcast(builder.gep(array.data, [given[1]]), byte)
        to_read, into_all_caches, data = (ir.Constant(word, number) for number in (0, 3, 1))
        builder.call(prefetch, [place, to_read, into_all_caches, data])
        return context.get_dummy_value()

    return types.void(numbers, types.int64), emit


prefetched: Untyped = intrinsic(_prefetched)
"""`prefetched(array, at)` brings the cache line of one number near. A place beyond the end of the
array harms nothing."""
