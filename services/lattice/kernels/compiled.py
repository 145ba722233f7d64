"""How every kernel is compiled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeAlias, TypeVar

from services.plumbing.importing import absent

with absent("yaml"):  # for a file of settings, which would be anybody's
    import numba

P = ParamSpec("P")
R = TypeVar("R")

Untyped: TypeAlias = Any

# A private option of the compiler is unknown to its types.
_njit: Untyped = numba.njit


@contextmanager
def alone() -> Iterator[None]:
    """Around the first kernels: the compiler takes in what else is installed.

    For BLAS it imports scipy and for C a parser, which no kernel has to do with, and which took
    longer than loading all kernels together.
    """
    with absent("scipy"), absent("cffi"):
        yield


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile on the first call, or load what was compiled before; runs without the GIL.

    A kernel allocates nothing: its callers bring all arrays. So the compiler need not count
    references to them (`_nrt`), which made searches up to nine times as slow, because each
    read of an array out of a tuple counts one more and one less.
    """
    compiled: Callable[P, R] = _njit(nogil=True, cache=True, error_model="numpy", _nrt=False)(
        function
    )
    return compiled


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compile as a part of the kernels that call it."""
    compiled: Callable[P, R] = _njit(
        nogil=True, cache=True, error_model="numpy", _nrt=False, forceinline=True
    )(function)
    return compiled
