"""An archive: a folder with a manifest and parts, each lines in gzip, sealed at wish."""

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Final, Self, cast

from cli import exit_codes
from cli.archiving.manifest import Part
from cli.archiving.sealing import Damaged, SealingWriter, opened
from cli.failure import Failed

_LEVEL: Final = 3
"""Of gzip: a little larger than the usual, and three times as fast."""
_READ_BYTES: Final = 2**20


class _Counting(io.RawIOBase):
    """Passes bytes on to a file, and keeps their number and their digest."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.byte_count = 0
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        taken = bytes(cast("bytes", content))
        self.byte_count += len(taken)
        self.digest.update(taken)
        self._file.write(taken)
        return len(taken)


class PartWriter(AbstractContextManager["PartWriter"]):
    """Writes a part beside its place, and moves it there once it is whole and on the disk."""

    def __init__(self, folder: Path, name: str, first_position: int, key: bytes | None) -> None:
        self._path = folder / name
        self._new = folder / f"{name}.new"
        self._first_position = first_position
        self._file = self._new.open("wb")
        self._counting = _Counting(cast("BinaryIO", self._file))
        below = cast("BinaryIO", self._counting)
        self._sealing = SealingWriter(below, key, name) if key else None
        target = cast("BinaryIO", self._sealing or self._counting)
        self._lines = gzip.GzipFile("", "wb", _LEVEL, target, mtime=0)
        self.count = 0
        self.line_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._file.close()
        self._new.unlink(missing_ok=True)

    def add(self, line: bytes) -> None:
        self._lines.write(line)
        self.count += 1
        self.line_bytes += len(line)

    def finished(self) -> Part:
        """What the manifest says of it, once it is there."""
        self._lines.close()
        if self._sealing is not None:
            self._sealing.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._new.replace(self._path)
        return Part(
            name=self._path.name,
            first_position=self._first_position,
            count=self.count,
            byte_count=self._counting.byte_count,
            sha256=self._counting.digest.hexdigest(),
        )


def check(folder: Path, part: Part) -> None:
    """See that the file is the one that was written. Raises Damaged."""
    digest, path = hashlib.sha256(), folder / part.name
    try:
        with path.open("rb") as file:
            while content := file.read(_READ_BYTES):
                digest.update(content)
        byte_count = path.stat().st_size
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror}") from error
    if digest.hexdigest() != part.sha256:
        what = f"has {byte_count:,} bytes, not {part.byte_count:,}"
        changed = "was changed" if byte_count == part.byte_count else what
        raise Damaged(f"{path} {changed}: its SHA-256 is not that of the manifest")


def lines(folder: Path, part: Part, key: bytes | None) -> Iterator[tuple[bytes, str]]:
    """The lines of a part, each with where it stands. Raises Damaged."""
    path, count = folder / part.name, 0
    try:
        with path.open("rb") as file:
            source = _Pieces(opened(file, key, part.name)) if key else file
            with gzip.GzipFile("", "rb", fileobj=cast("BinaryIO", source)) as unpacked:
                for count, line in enumerate(unpacked, 1):
                    yield line, f"{path}, line {count}"
    except (OSError, EOFError, zlib.error) as error:
        raise Damaged(f"{path} is damaged: {error}") from error
    if count != part.count:
        raise Damaged(f"{path} has {count:,} lines, not {part.count:,}")


class _Pieces(io.RawIOBase):
    """Pieces as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._left = piece
        size = len(self._left) if size < 0 else size
        taken, self._left = self._left[:size], self._left[size:]
        return taken


def prepared(folder: Path) -> None:
    """Make the folder, which its owner alone can read. Raises Failed."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"{folder} cannot be made: {error.strerror}"
        raise Failed(message, exit_codes.IOERR) from error
