"""Everything that a client is made of before it calls: addresses, transport, token, patience."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import grpc

from girih import servers
from girih.client.caller import Caller
from girih.client.connecting import grants
from girih.client.connecting.transport import Transport, host_of
from girih.client.context import ContextSource
from girih.client.errors import Refusal, Unavailable
from girih.client.retry import RetryPolicy
from girih.client.tokens import Renew, RenewedToken, Token
from girih.credentials import CredentialsFile, Unusable, default_path
from girih.servers import Server

EVENTS_PORT: Final = 50051
LATTICE_PORT: Final = 50052


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a client calls, as whom, and how patiently."""

    events_address: str
    lattice_address: str
    transport: Transport
    caller: Caller


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What whoever makes a client said. See `girih.client.AsyncClient`."""

    server: str | None
    events: str | None
    lattice: str | None
    token: Token | None
    api_key: str | None
    retry: RetryPolicy
    timeout: float | None
    context: ContextSource


def find(wanted: Wanted, transport: Transport, environ: Mapping[str, str], folder: Path) -> Target:
    """What is not said comes from the environment, and then from what the command knows: which
    girih is meant and who is logged in there.

    Opens no connection. Raises ValueError for what makes no sense, and Unavailable when the
    `girih up` that is meant does not run.
    """
    if wanted.token is not None and wanted.api_key is not None:
        raise ValueError("token and api_key must not both be given")
    events = wanted.events or environ.get("GIRIH_EVENTS_ADDRESS", "")
    lattice = wanted.lattice or environ.get("GIRIH_LATTICE_ADDRESS", "")
    is_complete = bool(events and wanted.token is not None)
    server, file = (None, None) if is_complete else _server(wanted.server, environ, folder)
    if server is not None:
        events = events or server.events_address or _beside(server.url, EVENTS_PORT)
        lattice = lattice or server.lattice_address
    lattice = lattice or _at(host_of(events), LATTICE_PORT)
    token = wanted.token
    if token is None:
        key = wanted.api_key or environ.get("GIRIH_API_KEY", "")
        token = RenewedToken(_renew(key, server, file, transport))
    retry = wanted.retry.within(wanted.timeout)
    return Target(
        events_address=events,
        lattice_address=lattice,
        transport=transport,
        caller=Caller(token=token, context=wanted.context, retry=retry),
    )


def _server(
    named: str | None, environ: Mapping[str, str], folder: Path
) -> tuple[Server, CredentialsFile | None]:
    """The girih that is meant, as the command would have it, and where its sessions are."""
    try:
        file = CredentialsFile(default_path(environ))
        sessions = file.read()
    except Unusable:
        # Whoever has a key needs none of it.
        file, sessions = None, {}
    try:
        return servers.chosen(named, environ, folder, sessions), file
    except servers.NotRunning as error:
        refusal = Refusal(
            code=grpc.StatusCode.UNAVAILABLE, message=str(error), reason="NOT_RUNNING"
        )
        raise Unavailable(refusal) from error
    except servers.NoServer as error:
        message = "no girih is known here: name its URL or a profile, or set GIRIH_URL"
        raise ValueError(message if named is None else str(error)) from error


def _renew(
    key: str, server: Server | None, file: CredentialsFile | None, transport: Transport
) -> Renew:
    assert server is not None, "only whoever brings a token needs none"
    if key:
        return grants.of_key(key, server.url, transport)
    if file is None:
        return grants.of_nobody("the file of sessions cannot be read; give a token or an API key")
    return grants.of_login(server, file, transport)


def _beside(url: str, port: int) -> str:
    """The service that listens on its own port where the gateway does."""
    return _at(urlsplit(url).hostname or "", port)


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
