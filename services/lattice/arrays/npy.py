"""The header of `.npy` files: numpy's format of one array. Reads no numbers and unpickles nothing.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from services.lattice.arrays.number_type import NumberType
from services.plumbing.errors import InvalidInput

HEADER_BYTES_MAX = 10_000
"""As much as numpy itself reads of one."""

_HEADER_BYTES_MIN = len("{'descr':'','fortran_order':0,'shape':()}")
_AXES_MAX = 64
"""As many as numpy's arrays have."""
_LENGTH_MAX = 2**63 - 1
_MAGIC = b"\x93NUMPY"
_ALIGNED = 64
_LENGTH_BYTES = {1: 2, 2: 4}
"""By major version. The third is only for arrays of records."""
_TYPES = {number_type.dtype.str: number_type for number_type in NumberType}
_BOOL = "|b1"


@dataclass(frozen=True)
class NpyHeader:
    """What a header says. `is_bool` numbers are bytes of 0 and 1."""

    number_type: NumberType
    shape: tuple[int, ...]
    is_bool: bool = False


def head_bytes(begin: bytes) -> int | None:
    """How long a file's header is, which begins so; None while that is not known yet.

    Raises InvalidInput naming `body` for what is no such file.
    """
    if not _MAGIC.startswith(begin[:6]):
        raise _bad("must begin as a .npy file does")
    if len(begin) < 12:
        return None
    length_bytes = _LENGTH_BYTES.get(begin[6])
    if length_bytes is None:
        raise _bad("must be a .npy file of version 1.0 or 2.0")
    length = int.from_bytes(begin[8 : 8 + length_bytes], "little")
    if length > HEADER_BYTES_MAX:
        raise _bad(f"must have a .npy header of at most {HEADER_BYTES_MAX:,} bytes")
    if length < _HEADER_BYTES_MIN:
        raise _bad("must have a .npy header that is a dictionary")
    return 8 + length_bytes + length


def read_header(head: bytes) -> NpyHeader:
    """What a whole header says; raises InvalidInput naming `body` for what we do not take.

    What it promises takes no memory here.
    """
    text = head[8 + _LENGTH_BYTES[head[6]] :]
    try:
        header = ast.literal_eval(text.decode("latin-1").strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise _bad("must have a .npy header that is a dictionary") from None
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise _bad("must have a .npy header of descr, fortran_order and shape")
    if header["fortran_order"] is not False and _axes_of_length(header["shape"]) > 1:
        raise _bad(
            "must be in C order, not in Fortran order: `numpy.ascontiguousarray` makes it so"
        )
    return NpyHeader(
        _number_type(header["descr"]), _shape(header["shape"]), header["descr"] == _BOOL
    )


def make_header(number_type: NumberType, shape: Sequence[int]) -> bytes:
    """The header of a file of version 1.0, which the numbers follow in C order."""
    header = {"descr": number_type.dtype.str, "fortran_order": False, "shape": tuple(shape)}
    text = repr(header)
    spaces = -(len(_MAGIC) + 4 + len(text) + 1) % _ALIGNED
    line = f"{text}{' ' * spaces}\n".encode("latin-1")
    return _MAGIC + b"\x01\x00" + len(line).to_bytes(2, "little") + line


def _number_type(descr: object) -> NumberType:
    if descr == _BOOL:
        return NumberType.UINT8
    number_type = _TYPES.get(descr) if isinstance(descr, str) else None
    if number_type is None:
        # Whatever a file says comes here: numbers of any length, and what is in no text.
        other = descr[:50] if isinstance(descr, str) and descr.isprintable() else "another"
        raise _bad(
            f"must be a .npy file of one of {', '.join([*_TYPES, _BOOL])}, little-endian, "
            f"not of {other}"
        )
    return number_type


def _shape(lengths: object) -> tuple[int, ...]:
    if not isinstance(lengths, tuple) or not all(type(length) is int for length in lengths):
        raise _bad("must have a .npy header with a shape of whole numbers")
    if len(lengths) > _AXES_MAX or not all(0 <= length <= _LENGTH_MAX for length in lengths):
        raise _bad(
            f"must have a .npy header with a shape of at most {_AXES_MAX} lengths below 2^63"
        )
    return lengths


def _axes_of_length(lengths: object) -> int:
    """How many axes have more than one number: of one alone the order is both."""
    return sum(1 for length in lengths if length != 1) if isinstance(lengths, tuple) else 2


def _bad(description: str) -> InvalidInput:
    return InvalidInput.of("body", description)
