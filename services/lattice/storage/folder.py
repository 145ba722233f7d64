"""Keeps objects as files below a folder of this machine, or of one that it has mounted.

A file is written beside, made durable, and only then linked to its name: whoever finds a name
finds all of it, whenever a process was killed.
"""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from services.lattice.errors import StorageUnavailable
from services.lattice.storage.objects import Bytes, ObjectExists, ObjectMissing

P = ParamSpec("P")
R = TypeVar("R")

_THREADS = 8
_UNFINISHED = ".unfinished"
"""The folder of files that are being written."""


class FolderStore:
    """An `ObjectStore` in a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="storage")

    async def put(self, name: str, data: Sequence[Bytes]) -> None:
        await self._run(self._put, name, data)

    async def get(self, name: str) -> bytes:
        return await self._run(self._get, name)

    async def copy(self, source: str, target: str) -> None:
        await self._run(self._copy, source, target)

    async def settle(self, folder: str) -> None:
        await self._run(self._settle, self._root / folder)

    async def names(self, folder: str) -> Sequence[str]:
        return await self._run(self._entries, folder, os.DirEntry.is_file)

    async def folders(self, folder: str) -> AsyncIterator[str]:
        for name in await self._run(self._entries, folder, os.DirEntry.is_dir):
            yield name

    async def remove(self, folder: str) -> None:
        await self._run(_remove, self._root / folder)

    async def tidy(self, age_s: float) -> None:
        await self._run(self._tidy, time.time() - age_s)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)

    async def _run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        with _trouble_named():
            return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def _put(self, name: str, data: Sequence[Bytes]) -> None:
        with self._beside(name) as unfinished:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 - of a descriptor
                for piece in data:
                    _write_all(file.fileno(), memoryview(piece))
                os.fsync(file.fileno())
            os.link(unfinished, self._root / name)

    def _get(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def _copy(self, source: str, target: str) -> None:
        try:
            (self._root / target).parent.mkdir(parents=True, exist_ok=True)
            os.link(self._root / source, self._root / target)
        except OSError as error:
            if isinstance(error, FileNotFoundError | FileExistsError):
                raise
            # A file system without links, or with too many of one file.
            self._put(target, [self._get(source)])

    def _settle(self, folder: Path) -> None:
        for each in (folder, *folder.parents):
            _sync_folder(each)
            if each == self._root:
                return

    def _entries(self, folder: str, is_kind: Callable[["os.DirEntry[str]"], bool]) -> list[str]:
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(
                    entry.name for entry in entries if is_kind(entry) and entry.name[0] != "."
                )
        except FileNotFoundError:
            return []

    def _tidy(self, before_s: float) -> None:
        folder = self._root / _UNFINISHED
        for file in folder.iterdir() if folder.is_dir() else ():
            with suppress(FileNotFoundError):
                if file.stat().st_mtime < before_s:
                    file.unlink()

    @contextmanager
    def _beside(self, name: str) -> Iterator[Path]:
        """The file to write before it gets its name; it is gone behind the block."""
        # Of no other process, of this machine or of another that has the folder, too.
        unfinished = self._root / _UNFINISHED / secrets.token_hex(16)
        for folder in (unfinished.parent, (self._root / name).parent):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
        finally:
            unfinished.unlink(missing_ok=True)


@contextmanager
def _trouble_named() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectMissing(error.filename) from error
    except FileExistsError as error:
        raise ObjectExists(error.filename) from error
    except OSError as error:
        raise StorageUnavailable(f"arrays cannot be kept or read: {error.strerror}") from error


def _write_all(descriptor: int, data: memoryview) -> None:
    data = data.cast("B")
    while data:
        data = data[os.write(descriptor, data) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
