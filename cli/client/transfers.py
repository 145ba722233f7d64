"""Moves the bytes of fields between files and a gateway, with a bar on a terminal.

Whatever the size of a file, it is read and written piece by piece.
"""

import base64
import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from cli import exit_codes
from cli.failure import Failed

if TYPE_CHECKING:
    from cli.client.rest import Gateway, Json

_PIECE_BYTES = 1 << 20
_TIMEOUT_S = 600.0
"""How long a gateway may take over the end of an upload: until all is durable."""

NPY, RAW = "application/x-npy", "application/octet-stream"
_MAGIC = b"\x93NUMPY"


class Advance(Protocol):
    """Tells that so many more bytes have gone."""

    def __call__(self, byte_count: int) -> None: ...


@dataclass(frozen=True)
class Source:
    """A file to send, from a place on."""

    path: Path
    media_type: str
    size_bytes: int

    @classmethod
    def of(cls, path: Path) -> "Source":
        """Raises Failed where it cannot be read."""
        try:
            with path.open("rb") as file:
                is_npy = file.read(len(_MAGIC)) == _MAGIC
                size_bytes = path.stat().st_size
        except OSError as error:
            raise Failed(f"{path}: {error.strerror or error}", exit_codes.NOINPUT) from error
        return cls(path, NPY if is_npy else RAW, size_bytes)

    def check_size(self, size_bytes: int, then: str = "") -> None:
        """Raise Failed unless it has so many bytes; with what to do `then`."""
        if self.size_bytes != size_bytes:
            message = f"{self.path}: must be {size_bytes:,} bytes long, not {self.size_bytes:,}"
            raise Failed(f"{message}; then {then}" if then else message, exit_codes.DATAERR)

    def digest(self) -> str:
        """As a `Content-Digest` has it."""
        with self.path.open("rb") as file:
            return _content_digest(hashlib.file_digest(file, "sha256"))

    def pieces(self, begin: int, advance: Advance) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(begin)
            yield from _counted(iter(partial(file.read, _PIECE_BYTES), b""), advance)


def send(gateway: "Gateway", route: str, source: Source, params: "dict[str, Json]") -> "Json":
    """Write a field with what is in a file; the answer."""
    headers = {"Content-Type": source.media_type, "Content-Digest": source.digest()}
    with bar(source.path.name, source.size_bytes) as advance:
        return gateway.upload(route, source.pieces(0, advance), headers, _TIMEOUT_S, params)


def create_from(
    gateway: "Gateway",
    name: str,
    bitmap: Callable[[], Iterator[bytes]],
    size_bytes: int,
    params: "dict[str, Json]",
) -> "Json":
    """Create a lattice whose blocked sites come as a bitmap, which is made twice: its digest is
    sent first. The lattice."""
    digest = hashlib.sha256()
    for piece in bitmap():
        digest.update(piece)
    headers = {"Content-Type": RAW, "Content-Digest": _content_digest(digest)}
    with bar(name, size_bytes) as advance:
        pieces = _counted(bitmap(), advance)
        answer = gateway.upload(
            "/v1/lattices:upload", pieces, headers, _TIMEOUT_S, params, method="POST"
        )
    return answer["lattice"]


def send_in_parts(gateway: "Gateway", route: str, source: Source, upload: "Json") -> "Json":
    """Go on with an upload from where it is; the answer to its last part."""
    begin = int(upload["offset"])
    params = {"uploadId": upload["uploadId"], "offset": begin}
    with bar(source.path.name, source.size_bytes, begin) as advance:
        pieces = source.pieces(begin, advance)
        return gateway.upload(route, pieces, {"Content-Type": RAW}, _TIMEOUT_S, params)


def receive(
    gateway: "Gateway", route: str, params: "dict[str, Json]", file: BinaryIO, size_bytes: int
) -> None:
    """Write the bytes of an answer to a file as they come."""
    file.writelines(received(gateway, route, params, size_bytes))


def received(
    gateway: "Gateway", route: str, params: "dict[str, Json]", size_bytes: int
) -> Iterator[bytes]:
    """The bytes of an answer as they come."""
    with (
        bar("download", size_bytes) as advance,
        gateway.opened("GET", route, params=params, read_timeout_s=_TIMEOUT_S) as response,
        gateway.guarded(),
    ):
        yield from _counted(response.iter_bytes(_PIECE_BYTES), advance)


def _counted(pieces: Iterator[bytes], advance: Advance) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        advance(len(piece))


def _content_digest(digest: "hashlib._Hash") -> str:
    return f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"


@contextmanager
def bar(name: str, size_bytes: int, done_bytes: int = 0) -> Iterator[Advance]:
    """A bar on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(name, total=size_bytes, completed=done_bytes)

        def advance(byte_count: int) -> None:
            progress.update(task, advance=byte_count)

        yield advance
