"""Bitmaps, distances and sites as arrays of numpy, which is imported when the first is made."""

import hashlib
import io
import math
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_SITES_AT_ONCE = 1 << 24
"""Of a bitmap that is made: a multiple of eight."""


def opened(source: object) -> object:
    """An array as it is, or the one in a `.npy` file: mapped into memory, so of any size.

    Raises ValueError for a file that is none, or holds objects.
    """
    return mapped(source) if isinstance(source, (str, os.PathLike)) else source


@contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Where to write a file that takes the place of the one at `path` once the block ends well."""
    target = Path(path)
    beside = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        yield beside
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def mapped(path: str | os.PathLike[str]) -> "NDArray[np.generic]":
    """The array in a `.npy` file, of which what is looked at is read."""
    array: NDArray[np.generic] = _numpy().lib.format.open_memmap(path, mode="r")
    return array


def packed(blocked: object) -> tuple[tuple[int, ...], bytes]:
    """The shape of an array of booleans, and its bitmap: a bit per site in C order, the least
    significant of each byte first. Takes the memory of the bitmap, and of one of a file none for
    its sites. Raises ValueError for numbers other than 0 and 1."""
    numpy = _numpy()
    array = numpy.asarray(opened(blocked))
    flat = numpy.ravel(array)
    bitmap = numpy.empty((flat.size + 7) // 8, numpy.uint8)
    for begin in range(0, flat.size, _SITES_AT_ONCE):
        part = flat[begin : begin + _SITES_AT_ONCE]
        sites = part.astype(bool)
        if part.dtype != bool and not (sites == part).all():
            raise ValueError("blocked must be an array of booleans, or of 0 and 1")
        bits = numpy.packbits(sites, bitorder="little")
        bitmap[begin // 8 : begin // 8 + bits.size] = bits
    return array.shape, bitmap.tobytes()


def unpacked(bitmap: bytes, shape: Sequence[int]) -> "NDArray[np.bool_]":
    """The array of booleans, of `shape`, of a bitmap as `packed` makes it; empty blocks none."""
    numpy = _numpy()
    blocked: NDArray[np.bool_]
    if not bitmap:
        blocked = numpy.zeros(shape, bool)
        return blocked
    packed_bytes = numpy.frombuffer(bitmap, numpy.uint8)
    bits = numpy.unpackbits(packed_bytes, count=math.prod(shape), bitorder="little")
    blocked = bits.view(bool).reshape(shape)
    return blocked


def empty_distances(count: int) -> "NDArray[np.float64]":
    """An array of so many distances that nobody knows yet: 8 bytes each."""
    distances: NDArray[np.float64] = _numpy().full(count, -1.0)
    return distances


def put_distances(into: "NDArray[np.float64]", first: int, distances: Sequence[float]) -> None:
    numpy = _numpy()
    into[first : first + len(distances)] = numpy.fromiter(distances, numpy.float64, len(distances))


def put_values(into: "NDArray[np.float64]", first: int, values: bytes, kind: str) -> None:
    """The same of an array's bytes. `kind` is as numpy writes it."""
    numbers = _numpy().frombuffer(values, kind)
    into[first : first + len(numbers)] = numbers


def finished_distances(
    distances: "NDArray[np.float64]", shape: Sequence[int]
) -> "NDArray[np.float64]":
    """Of `shape`, and infinite where no path leads, which the wire says as -1."""
    distances[distances < 0] = float("inf")
    return distances.reshape(shape)


def no_sites(axis_count: int) -> "NDArray[np.int64]":
    sites: NDArray[np.int64] = _numpy().empty((0, axis_count), "int64")
    return sites


def sites_of(
    start: Sequence[int],
    steps_and_counts: Sequence[tuple[Sequence[int], int]],
    shape: Sequence[int],
) -> "NDArray[np.int64]":
    """The sites from `start` on along the runs, over the edges of periodic axes."""
    numpy = _numpy()
    steps = numpy.array([step for step, _ in steps_and_counts], numpy.int64).reshape(-1, len(shape))
    counts = numpy.array([count for _, count in steps_and_counts], numpy.int64)
    moves = numpy.repeat(steps, counts, axis=0)
    reached = numpy.concatenate([numpy.array([start], numpy.int64), moves]).cumsum(axis=0)
    sites: NDArray[np.int64] = reached % numpy.array(shape, numpy.int64)
    return sites


def filled(count: int, dtype: str, value: float) -> "NDArray[np.generic]":
    """An array of so many equal numbers."""
    made: NDArray[np.generic] = _numpy().full(count, value, dtype)
    return made


def put(into: "NDArray[np.generic]", first: int, values: Sequence[float]) -> None:
    """Numbers of a message into an array, from an index on."""
    into[first : first + len(values)] = _numpy().fromiter(values, into.dtype, len(values))


def whole(digits: str) -> int:
    """A number of any size from its digits: Python refuses long ones at once."""
    at_once = 4_000
    if len(digits) <= at_once:
        return int(digits)
    half = len(digits) // 2
    high: int = whole(digits[:-half]) * 10**half
    return high + whole(digits[-half:])


def of(values: Sequence[float], dtype: str, shape: Sequence[int] = (-1,)) -> "NDArray[np.generic]":
    """Numbers of a message as an array."""
    array: NDArray[np.generic] = _numpy().array(values, dtype).reshape(shape)
    return array


def pairs(tails: Sequence[int], heads: Sequence[int]) -> "NDArray[np.int64]":
    """Of shape (n, 2)."""
    numpy = _numpy()
    edges: NDArray[np.int64] = numpy.stack(
        (numpy.array(tails, numpy.int64), numpy.array(heads, numpy.int64)), axis=1
    )
    return edges


def joined(parts: "Sequence[NDArray[np.generic]]") -> "NDArray[np.generic]":
    """One behind the other; at least one."""
    array: NDArray[np.generic] = _numpy().concatenate(parts)
    return array


def infinite_where_negative(values: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """The same array: what the wire says as -1 cannot be reached."""
    values[values < 0] = float("inf")
    return values


def numbers(
    array: object, kinds: Collection[str], otherwise: str | None = None
) -> tuple[str, tuple[int, ...], memoryview]:
    """The type, the shape and the little-endian bytes in C order of what numpy makes an array of.

    Copied only where it is not so already. Of a type that is not among `kinds` it becomes
    `otherwise`. Raises ValueError where that is None, and for what are no numbers.
    """
    numpy = _numpy()
    made = numpy.asarray(opened(array))
    kind = made.dtype.newbyteorder("=").name
    if kind not in kinds:
        if otherwise is None or made.dtype.kind not in "biuf":
            raise ValueError(f"must be an array of one of {', '.join(kinds)}, not of {kind}")
        kind = otherwise
    laid_out = numpy.ascontiguousarray(made, numpy.dtype(kind).newbyteorder("<"))
    return kind, made.shape, memoryview(laid_out.reshape(-1).view(numpy.uint8))


class NpyReader:
    """An array as the bytes of its `.npy` file come: they are copied once, into it."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        """With a `path` the array is that of a new file there, mapped into memory."""
        self._path = path
        self._head = bytearray()
        self._array: NDArray[np.generic] | None = None
        self._bytes = memoryview(b"")
        self._filled = 0

    @property
    def is_complete(self) -> bool:
        return self._array is not None and self._filled == len(self._bytes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array; raises ValueError while its header is missing."""
        if self._array is None:
            raise ValueError("the array is not complete")
        return self._array.shape

    def take(self, data: bytes) -> None:
        """Raises ValueError for a header that is none, and for more than it promises."""
        if self._array is None:
            self._head += data
            data = self._begin()
        if not data:
            return
        self._bytes[self._filled : self._filled + len(data)] = data
        self._filled += len(data)

    def rewound(self) -> tuple[int, int]:
        """Forget what came of a row that is not complete, of the first axis with more than one;
        that axis, and how many rows have come. What comes next are the numbers behind them."""
        if self._array is None:
            self._head.clear()
            return 0, 0
        shape = self._array.shape
        axis = next((axis for axis, length in enumerate(shape) if length > 1), 0)
        row_bytes = max(1, len(self._bytes) // max(1, shape[axis]))
        rows = self._filled // row_bytes
        self._filled = rows * row_bytes
        return axis, rows

    def result(self) -> "NDArray[np.generic]":
        """Raises ValueError while bytes are missing."""
        if self._array is None or not self.is_complete:
            raise ValueError("the array is not complete")
        return self._array

    def _begin(self) -> bytes:
        """Make the array once its header is there; the bytes behind that."""
        numpy = _numpy()
        if len(self._head) < _NPY_HEAD or len(self._head) < _npy_header_bytes(self._head):
            return b""
        length = _npy_header_bytes(self._head)
        file = io.BytesIO(self._head[:length])
        numpy.lib.format.read_magic(file)
        shape, is_fortran, dtype = numpy.lib.format.read_array_header_1_0(file)
        if is_fortran or dtype.hasobject:
            raise ValueError("must be numbers in C order")
        self._array = made = self._made(shape, dtype)
        self._bytes = memoryview(made.reshape(-1).view(numpy.uint8))
        rest = bytes(self._head[length:])
        self._head.clear()
        return rest

    def _made(self, shape: tuple[int, ...], dtype: Any) -> Any:  # noqa: ANN401 - of numpy
        numpy = _numpy()
        if self._path is None:
            return numpy.empty(shape, dtype)
        return numpy.lib.format.open_memmap(self._path, "w+", dtype, shape)


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The beginning of a `.npy` file of little-endian numbers in C order."""
    numpy, file = _numpy(), io.BytesIO()
    descr = numpy.lib.format.dtype_to_descr(numpy.dtype(dtype).newbyteorder("<"))
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    numpy.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def digest(array: "NDArray[np.generic]", chunk_shape: Sequence[int]) -> str:
    """The digest of a field with these numbers, as the contract says of `Field.digest`. Takes
    about a second for each GiB."""
    numpy = _numpy()
    lengths = [",".join(map(str, each)) for each in (array.shape, chunk_shape)]
    whole = hashlib.sha256(f"girih-array-v1 {array.dtype.name} {' '.join(lengths)}\n".encode())
    data = memoryview(array.reshape(-1).view(numpy.uint8))
    chunk_bytes = array.itemsize * math.prod(chunk_shape)
    for begin, end in _chunks(array.shape, chunk_shape, array.itemsize):
        chunk = hashlib.sha256(data[begin:end])
        chunk.update(bytes(chunk_bytes - (end - begin)))
        whole.update(chunk.digest())
    return whole.hexdigest()


def _chunks(
    shape: Sequence[int], chunk_shape: Sequence[int], item_bytes: int
) -> Iterator[tuple[int, int]]:
    """Where the chunks of an array begin and end, in bytes: each is some rows of one axis, and all
    of the axes behind that."""
    axis = next(
        axis for axis in range(len(shape)) if shape[axis + 1 :] == tuple(chunk_shape[axis + 1 :])
    )
    row_bytes = item_bytes * math.prod(shape[axis + 1 :])
    for outer in range(math.prod(shape[:axis])):
        for row in range(0, shape[axis], chunk_shape[axis]):
            begin = (outer * shape[axis] + row) * row_bytes
            yield begin, begin + min(chunk_shape[axis], shape[axis] - row) * row_bytes


_NPY_HEAD = 10
"""The magic, the version and the length of the header."""


def _npy_header_bytes(head: bytearray) -> int:
    return _NPY_HEAD + int.from_bytes(head[8:10], "little")


def _numpy() -> Any:  # noqa: ANN401 - the module
    try:
        import numpy  # noqa: ICN001 - annotations have `np`
    except ImportError as error:
        message = "arrays of lattices need numpy: pip install 'girih[lattice]'"
        raise ImportError(message) from error
    return numpy
