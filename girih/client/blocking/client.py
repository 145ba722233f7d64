"""What users have without asyncio: the same names as `girih.client.AsyncClient`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from girih.client.blocking.event_store import BlockingEventStoreClient
from girih.client.blocking.lattices import Lattices
from girih.client.channel import open_blocking_channel
from girih.client.connecting import target
from girih.client.connecting.target import Wanted
from girih.client.connecting.transport import Transport
from girih.client.context import ContextSource, current_context
from girih.client.retry import RetryPolicy
from girih.client.tokens import Token


class Client(BlockingEventStoreClient):
    """A girih, as the user or key that calls it. `AsyncClient` is the same with asyncio.

        with Client() as girih:
            girih.append([NewEvent.with_data("permit-1", "submitted", {"by": "Ada"})])
            for event in girih.follow():
                print(event.position, event.type, event.data)

    Closed with its block, which ends the calls that are open: a loop over `follow` in another
    thread then comes to its end. One client serves any number of threads, and none after a fork.

    There is no event loop behind it: a process that has one in a thread cannot be forked, since
    its children hang, and every call would go from thread to thread and back.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        api_key: str | None = None,
        token: Token | None = None,
        events: str | None = None,
        lattice: str | None = None,
        tls: bool | None = None,
        ca_file: str | Path | None = None,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
        timeout: float | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - it is frozen
        context: ContextSource = current_context,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """As AsyncClient, but that a function that gives `token` must be a plain one."""
        transport = Transport.chosen(
            tls=tls, ca_file=ca_file, cert_file=cert_file, key_file=key_file, environ=environ
        )
        wanted = Wanted(
            server=server,
            events=events,
            lattice=lattice,
            token=token,
            api_key=api_key,
            retry=retry,
            timeout=timeout,
            context=context,
        )
        connected = target.find(wanted, transport, environ, Path.cwd())
        channels = [
            open_blocking_channel(address, tls=transport.credentials(address))
            for address in (connected.events_address, connected.lattice_address)
        ]
        caller = connected.caller
        super().__init__(channels[0], token=caller.token, context=context, retry=caller.retry)
        self._channels = channels

    @property
    def lattices(self) -> Lattices:
        """The tenant's lattices."""
        return Lattices(self._channels[1], self._caller)

    def close(self) -> None:
        """End the calls that are open, and the connections."""
        for subscription in list(self._subscriptions):
            subscription.close()
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()
