"""Blocked sites from files of every kind, and from files that are none."""

import io
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from cli.failure import Failed
from cli.grids import files

MAZE = np.array([[0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]], bool)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.mark.parametrize(
    "text",
    [
        "..#.\n.##.\n....\n",
        "..#.\r\n.@T.\r\n....",
        "type octile\nheight 3\nwidth 4\nmap\n.GT.\n.@OS\n....\n",
    ],
)
def test_text_and_published_maps_are_read(path: Path, text: str) -> None:
    path.write_bytes(text.encode())

    assert (files.read(path) == MAZE).all()


def test_what_is_printed_is_read_again(path: Path) -> None:
    path.write_text("\n".join(files.lines(MAZE)))

    assert (files.read(path) == MAZE).all()


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64])
def test_an_array_is_read(path: Path, kind: type[np.generic]) -> None:
    cube = np.arange(24).reshape(2, 3, 4) % 5 == 0
    with path.open("wb") as file:
        np.save(file, cube.astype(kind))

    assert (files.read(path) == cube).all()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def filtered(kind: int, rows: NDArray[np.uint8], step: int) -> bytes:
    """Rows as PNG tells them by one of its filters: the plainest way, byte by byte."""
    result = bytearray()
    above = [0] * rows.shape[1]
    for row in rows.tolist():
        result.append(kind)
        for index, value in enumerate(row):
            left = row[index - step] if index >= step else 0
            up = above[index]
            corner = above[index - step] if index >= step else 0
            guess = left + up - corner
            nearest = min((left, up, corner), key=lambda one: abs(guess - one))
            result.append((value - (0, left, up, (left + up) // 2, nearest)[kind]) % 256)
        above = row
    return bytes(result)


def picture(
    rows: NDArray[np.uint8],
    *,
    size: tuple[int, int],
    colour: int = 0,
    depth: int = 8,
    step: int = 1,
    kind: int = 0,
    palette: bytes = b"",
    interlaced: int = 0,
) -> bytes:
    head = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    parts = [chunk(b"IHDR", head), chunk(b"PLTE", palette) if palette else b""]
    packed = zlib.compress(filtered(kind, rows, step))
    parts += [chunk(b"IDAT", packed[:9]), chunk(b"IDAT", packed[9:]), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize(("colour", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_dark_pixels_of_a_picture_are_blocked(
    path: Path, kind: int, colour: int, samples: int
) -> None:
    random = np.random.default_rng(seed=kind)
    dark = random.random((13, 17)) < 0.5
    gray = np.where(
        dark, random.integers(0, 128, dark.shape), random.integers(128, 256, dark.shape)
    )
    pixels = np.repeat(gray[:, :, None], samples, axis=2)
    if colour in (4, 6):
        pixels[:, :, -1] = 255
    rows = pixels.reshape(13, -1).astype(np.uint8)
    path.write_bytes(picture(rows, size=(17, 13), colour=colour, step=samples, kind=kind))

    assert (files.read(path) == dark).all()


def test_colours_are_as_bright_as_they_look_and_before_white(path: Path) -> None:
    blue, yellow, red, clear = (0, 0, 255, 255), (255, 255, 0, 255), (255, 0, 0, 255), (0, 0, 0, 9)
    rows = np.array([[*blue, *yellow, *red, *clear]], np.uint8)
    path.write_bytes(picture(rows, size=(4, 1), colour=6, step=4))

    assert files.read(path).tolist() == [[True, False, True, False]]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_pixels_that_share_a_byte_and_palettes_are_read(path: Path, depth: int) -> None:
    dark = np.random.default_rng(seed=depth).random((5, 11)) < 0.5
    bits = np.repeat((~dark)[:, :, None], depth, axis=2).reshape(5, -1)
    rows = np.packbits(bits, axis=1)
    path.write_bytes(picture(rows, size=(11, 5), depth=depth))
    assert (files.read(path) == dark).all()

    palette = bytes([250, 250, 250]) + bytes(3 * (2**depth - 1))
    path.write_bytes(picture(rows, size=(11, 5), depth=depth, colour=3, palette=palette))
    assert (files.read(path) == ~dark).all()


ONE = np.zeros((1, 1), np.uint8)
BOMB = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31, 2**31, 8, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "1 to 33,554,432 sites"),
        (b"..\n.", "line 2: must have 2 sites"),
        (b"..\nx.", "line 2: must be text"),
        (bytes(9), "a bitmap needs --bit-order"),
        (b"type octile\n....", "line `map`"),
        (b"." * (2**26 + 1), "at most 67,108,864 bytes"),
        (b"\n".join([b"." * 2**13] * (2**12 + 1)), "1 to 33,554,432 sites"),
        (picture(ONE, size=(1, 1))[:-20], "is no whole PNG"),
        (picture(ONE, size=(1, 1)).replace(b"IDAT", b"IDAX"), "checksum"),
        (picture(ONE, size=(1, 9)), "rows are missing"),
        (picture(ONE, size=(1, 1), interlaced=1), "not interlaced"),
        (picture(ONE, size=(1, 1), depth=16), "at most 8 bits"),
        (picture(ONE, size=(1, 1), colour=9), "at most 8 bits"),
        (b"\x89PNG\r\n\x1a\n" + BOMB, "1 to 16,777,216 pixels"),
        (b"\x93NUMPY and no more", ""),
    ],
)
def test_what_is_no_grid_is_refused_by_the_option(path: Path, content: bytes, words: str) -> None:
    path.write_bytes(content)

    with pytest.raises(Failed, match=r"^--blocked: ") as refused:
        files.read(path)

    assert words in str(refused.value)
    assert refused.value.exit_code == 65


@pytest.mark.parametrize(
    "array", [np.array([0.0, 1.0]), np.array([0, 2]), np.array([object()]), np.zeros((0, 3), bool)]
)
def test_arrays_of_other_things_are_refused(path: Path, array: NDArray[np.generic]) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=True)

    with pytest.raises(Failed, match=r"^--blocked: "):
        files.read(path)


def test_an_array_that_is_too_large_is_not_read(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|b1", "fortran_order": False, "shape": (2**26,)}
        )
        file.truncate(2**26 + 128)

    with pytest.raises(Failed, match="1 to 33,554,432 sites"):
        files.read(path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["|b1", "|u1", "<i8", ">i2"])
def test_a_large_array_of_any_integers_is_a_bitmap_piece_by_piece(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, order: Literal["C", "F"]
) -> None:
    monkeypatch.setattr(files, "SITES_MAX", 20)
    monkeypatch.setattr(files, "_SITES_AT_ONCE", 16)
    cube = np.random.default_rng(8).random((3, 5, 7)) < 0.4
    with path.open("wb") as file:
        np.save(file, np.array(cube, kind, order=order))

    array = files.large(path)
    assert array is not None
    pieces = list(files.bitmap(path, array))
    written = io.BytesIO()
    files.write_blocked(pieces, cube.shape, written)

    assert b"".join(pieces) == np.packbits(cube, bitorder="little").tobytes()
    assert max(map(len, pieces)) == 2
    read = np.load(io.BytesIO(written.getvalue()))
    assert read.dtype == bool
    assert (read == cube).all()


def test_a_bitmap_that_is_empty_blocks_no_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_SITES_AT_ONCE", 16)
    written = io.BytesIO()

    files.write_blocked([b""], (3, 15), written)

    assert np.load(io.BytesIO(written.getvalue())).tolist() == [[False] * 15] * 3


def test_a_large_array_of_other_numbers_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SITES_MAX", 20)
    with path.open("wb") as file:
        np.save(file, np.arange(21) // 20 * 2)
    array = files.large(path)
    assert array is not None

    with pytest.raises(Failed, match=r"^--blocked: .*must be 0 where"):
        list(files.bitmap(path, array))
