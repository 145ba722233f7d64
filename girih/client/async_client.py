"""What users have, with asyncio: one object for a girih, its events and its lattices."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from girih.client.channel import open_channel
from girih.client.connecting import target
from girih.client.connecting.target import Wanted
from girih.client.connecting.transport import Transport
from girih.client.context import ContextSource, current_context
from girih.client.event_store import EventStoreClient
from girih.client.lattices.client import AsyncLattices
from girih.client.retry import RetryPolicy
from girih.client.tokens import Token


class AsyncClient(EventStoreClient):
    """A girih, as the user or key that calls it. `Client` is the same without asyncio.

        async with AsyncClient() as girih:
            await girih.append([NewEvent.with_data("permit-1", "submitted", {"by": "Ada"})])
            async for event in girih.follow():
                print(event.position, event.type, event.data)

    Made where an event loop runs, and closed with its block, which ends the calls that are open: a
    loop over `follow` in another task then comes to its end.
    Connects with the first call, and again when need be. One client serves any number of tasks.

    Every method raises GirihError, by class and `reason`. What may be repeated safely is
    repeated, until the time of a call is up; then Unavailable tells so. A call whose task is
    cancelled ends at once.
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
        """Without arguments: the girih that the command `girih` would call from this folder, as
        who is logged in there.

        Parameters
        ----------
        server : str
            The URL of its gateway, or a profile of the command. Else GIRIH_URL, GIRIH_PROFILE, the
            `girih up` of this folder or one above it, or where somebody logged in last.
        api_key : str
            Is traded for tokens at the gateway. Else GIRIH_API_KEY, else the login's tokens are
            taken. All are renewed by themselves.
        token : str or callable
            A token, or what gives one: a function, plain or asynchronous, asked before every
            attempt. Not beside `api_key`.
        events, lattice : str
            Where the services are, as host:port or dns:///name:port. Else GIRIH_EVENTS_ADDRESS
            and GIRIH_LATTICE_ADDRESS, what `girih up` says, or ports 50051 and 50052 of the
            gateway's host.
        tls : bool
            Whether calls are encrypted. None: what leaves this machine is, unless
            GIRIH_TRANSPORT says `plain`.
        ca_file, cert_file, key_file : path
            Whom to trust, and who the client is where the servers ask for it (PEM).
        timeout : float
            Seconds that a call may take with all its attempts; a read, from one answer to the
            next. 15 unless `retry` says something else; each call can be given another.
        retry : RetryPolicy
            How often calls are tried, and when again.

        Raises ValueError for what makes no sense together or when no girih is known, and
        Unavailable when the `girih up` that is meant does not run.
        """
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
            open_channel(address, tls=transport.credentials(address))
            for address in (connected.events_address, connected.lattice_address)
        ]
        caller = connected.caller
        super().__init__(channels[0], token=caller.token, context=context, retry=caller.retry)
        self._channels = channels

    @property
    def lattices(self) -> AsyncLattices:
        """The tenant's lattices."""
        return AsyncLattices(self._channels[1], self._caller)

    async def aclose(self) -> None:
        """End the calls that are open, and the connections."""
        for subscription in list(self._subscriptions):
            subscription.close()
        for channel in self._channels:
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.aclose()
