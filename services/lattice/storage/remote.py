"""Keeps objects in an object store, whichever `obstore` knows by the URL: s3, gs, az, https."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from services.lattice.errors import StorageUnavailable
from services.lattice.storage.objects import Bytes, ObjectExists, ObjectMissing

T = TypeVar("T")

_TIMEOUT_S = 60.0
"""Of one request, with the repetitions that obstore makes of it."""


class RemoteStore:
    """An `ObjectStore` behind a URL. Credentials are where the provider's own tools find them."""

    def __init__(self, url: str) -> None:
        """Raises ImportError where the package `obstore` is not installed."""
        # Only who keeps arrays in an object store needs it.
        import obstore
        import obstore.store

        self._obstore: Any = obstore
        self._store: Any = obstore.store.from_url(url)

    async def put(self, name: str, data: Sequence[Bytes]) -> None:
        whole = b"".join(data)
        await _in_time(self._obstore.put_async(self._store, name, whole, mode="create"))

    async def get(self, name: str) -> bytes:
        async def read() -> bytes:
            result = await self._obstore.get_async(self._store, name)
            return bytes(await result.bytes_async())

        return await _in_time(read())

    async def copy(self, source: str, target: str) -> None:
        await _in_time(self._obstore.copy_async(self._store, source, target, overwrite=False))

    async def settle(self, folder: str) -> None:
        """Nothing is left to do: what was put is durable, and so is that it is there."""

    async def names(self, folder: str) -> Sequence[str]:
        listed = await _in_time(self._obstore.list_with_delimiter_async(self._store, f"{folder}/"))
        return sorted(str(each["path"]).rpartition("/")[2] for each in listed["objects"])

    async def folders(self, folder: str) -> AsyncIterator[str]:
        prefix = f"{folder}/" if folder else None
        listed = await _in_time(self._obstore.list_with_delimiter_async(self._store, prefix))
        for each in listed["common_prefixes"]:
            yield str(each).rstrip("/").rpartition("/")[2]

    async def remove(self, folder: str) -> None:
        names = [f"{folder}/{name}" for name in await self.names(folder)]
        if names:
            await _in_time(self._obstore.delete_async(self._store, names))

    async def tidy(self, age_s: float) -> None:
        """What is not finished is not there."""

    async def close(self) -> None:
        """Nothing is held."""


async def _in_time(request: Awaitable[T]) -> T:
    with _trouble_named():
        async with asyncio.timeout(_TIMEOUT_S):
            return await request


@contextmanager
def _trouble_named() -> Iterator[None]:
    import obstore.exceptions

    try:
        yield
    except (obstore.exceptions.NotFoundError, FileNotFoundError) as error:
        raise ObjectMissing(str(error)) from error
    except obstore.exceptions.AlreadyExistsError as error:
        raise ObjectExists(str(error)) from error
    except (obstore.exceptions.BaseError, TimeoutError, OSError) as error:
        raise StorageUnavailable("the object store does not answer as it should") from error
