"""Which sites are blocked, in files: as text, as a picture, and as an array of numpy.

Knows no lattice and no call.
"""

from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from cli import exit_codes
from cli.failure import Failed
from cli.grids import png

if TYPE_CHECKING:
    from numpy.typing import NDArray

SITES_MAX = 2**25
"""The most sites of a lattice that has blocked ones: a bitmap of 4 MiB."""
FILE_BYTES_MAX = 2**26
"""Of text and pictures. Of an array only the sites are counted."""

PIXELS_MAX = 2**24
"""Of a picture, which takes up to 12 bytes a pixel while it is read."""

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
    the largest lattice needs.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
            if head.startswith(b"\x93NUMPY"):
                return _array(path)
            content = head + file.read(FILE_BYTES_MAX)
        return _content(content)
    except (ValueError, EOFError) as error:
        raise Failed(f"--blocked: {path}: {error}", exit_codes.DATAERR) from error
    except OSError as error:
        raise Failed(f"--blocked: {path}: {error.strerror or error}", exit_codes.NOINPUT) from error


def _content(content: bytes) -> "NDArray[np.bool_]":
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"must be at most {FILE_BYTES_MAX:,} bytes")
    is_picture = content.startswith(png.SIGNATURE)
    return _checked(png.dark(content, PIXELS_MAX) if is_picture else _text(content))


def _checked(blocked: "NDArray[np.bool_]") -> "NDArray[np.bool_]":
    if not 1 <= blocked.size <= SITES_MAX:
        raise ValueError(f"must have 1 to {SITES_MAX:,} sites, not {blocked.size:,}")
    return blocked


def _array(path: Path) -> "NDArray[np.bool_]":
    # Mapped, so that an array that is too large is not read.
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype.kind not in "bui":
        raise ValueError(f"must be an array of booleans or integers, not of {array.dtype}")
    _checked(array)
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
