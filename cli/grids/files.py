"""Which sites are blocked, in files: as text, as a picture, and as an array of numpy.

Knows no lattice and no call.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import numpy as np

from cli import exit_codes
from cli.failure import Failed
from cli.grids import png

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)

SITES_MAX = 2**25
"""The most sites whose bitmap fits into a message, and that are looked at in memory."""
FILE_BYTES_MAX = 2**26
"""Of text and pictures. Of an array only the sites are counted."""

PIXELS_MAX = 2**24
"""Of a picture, which takes up to 12 bytes a pixel while it is read."""

_MAGIC = b"\x93NUMPY"
_SITES_AT_ONCE = 2**23
"""Of an array that is larger: a multiple of eight."""
_FREE, _BLOCKED = b".GS", b"#@OTW"
_IS_BLOCKED = np.zeros(256, np.bool_)
_IS_BLOCKED[list(_BLOCKED)] = True
_KINDS = (
    "must be text of . for free and # @ T for blocked sites, a .map, a PNG or a .npy;"
    " a bitmap needs --bit-order"
)


def read(path: Path) -> "NDArray[np.bool_]":
    """True where a site is blocked: of a text and of a picture the rows are the first axis.

    Raises Failed, which names the file and what is wrong, before it takes more memory than
    SITES_MAX sites need.
    """
    with _blamed(path), path.open("rb") as file:
        head = file.read(8)
        if head.startswith(_MAGIC):
            return _array(path)
        return _content(head + file.read(FILE_BYTES_MAX))


def large(path: Path) -> "NDArray[np.generic] | None":
    """An array of more than SITES_MAX sites, mapped into memory; None for any other file."""
    with _blamed(path), path.open("rb") as file:
        array = _mapped(path) if file.read(len(_MAGIC)) == _MAGIC else None
    return array if array is not None and array.size > SITES_MAX else None


def bitmap(path: Path, array: "NDArray[np.generic]") -> Iterator[bytes]:
    """Which sites are blocked in a large array, a bit for each in C order, the lowest of each byte
    first: a MiB at a time. Raises Failed for numbers other than 0 and 1."""
    flat = array.reshape(-1) if array.flags.c_contiguous else array.flat
    for begin in range(0, array.size, _SITES_AT_ONCE):
        with _blamed(path):
            part = _booleans(flat[begin : begin + _SITES_AT_ONCE])
        yield np.packbits(part, bitorder="little").tobytes()


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, EOFError) as error:
        raise Failed(f"--blocked: {path}: {error}", exit_codes.DATAERR) from error
    except OSError as error:
        raise Failed(f"--blocked: {path}: {error.strerror or error}", exit_codes.NOINPUT) from error


def _content(content: bytes) -> "NDArray[np.bool_]":
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"must be at most {FILE_BYTES_MAX:,} bytes")
    is_picture = content.startswith(png.SIGNATURE)
    return _checked(png.dark(content, PIXELS_MAX) if is_picture else _text(content))


def _checked(blocked: "NDArray[T]") -> "NDArray[T]":
    if not 1 <= blocked.size <= SITES_MAX:
        raise ValueError(f"must have 1 to {SITES_MAX:,} sites, not {blocked.size:,}")
    return blocked


def _array(path: Path) -> "NDArray[np.bool_]":
    array = _mapped(path)
    _checked(array)
    return _booleans(array)


def _mapped(path: Path) -> "NDArray[np.generic]":
    """Not read, however large it is."""
    array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype.kind not in "bui":
        raise ValueError(f"must be an array of booleans or integers, not of {array.dtype}")
    return array


def _booleans(array: "NDArray[np.generic]") -> "NDArray[np.bool_]":
    blocked: NDArray[np.bool_] = np.asarray(array, dtype=bool)
    if array.dtype.kind != "b" and not (blocked == array).all():
        raise ValueError("must be 0 where a site is free, and 1 where it is blocked")
    return blocked


def _text(content: bytes) -> "NDArray[np.bool_]":
    lines = content.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
    first = 0
    if lines[0].startswith(b"type"):
        # The format of the published maps: its size follows from its rows.
        if b"map" not in lines[:8]:
            raise ValueError("must have a line `map` before the rows of a .map")
        first = lines.index(b"map") + 1
    rows = lines[first:]
    width = len(rows[0]) if rows else 0
    for number, row in enumerate(rows, start=first + 1):
        if row.translate(None, _FREE + _BLOCKED):
            raise ValueError(f"line {number:,}: {_KINDS}")
        if len(row) != width:
            raise ValueError(
                f"line {number:,}: must have {width:,} sites as the first row, not {len(row):,}"
            )
    signs = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), width)
    blocked: NDArray[np.bool_] = _IS_BLOCKED[signs]
    return blocked


def lines(blocked: "NDArray[np.bool_]") -> list[str]:
    """The rows as text that `read` takes. Of one axis or two."""
    signs = np.where(np.atleast_2d(blocked), ord("#"), ord(".")).astype(np.uint8)
    return [row.tobytes().decode() for row in signs]


def write(array: "NDArray[np.generic]", file: IO[bytes]) -> None:
    """As numpy writes it, without anything that needs to be trusted when it is read."""
    np.lib.format.write_array(file, array, allow_pickle=False)


def write_blocked(bitmap: Iterable[bytes], shape: Sequence[int], file: IO[bytes]) -> None:
    """A bitmap that comes piece by piece, the lowest bit of each byte first, as an array of
    booleans. An empty one blocks no site."""
    head = {"descr": "|b1", "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, head)
    left = sites = math.prod(shape)
    for piece in bitmap:
        bits = np.unpackbits(np.frombuffer(piece, np.uint8), bitorder="little")[:left]
        file.write(bits.data)
        left -= bits.size
    if left == sites:
        while left:
            left -= file.write(bytes(min(left, _SITES_AT_ONCE)))
