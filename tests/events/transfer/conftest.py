"""A service, and the clients of tenants of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import grpc.aio
import pytest

from girih.client.blocking.client import Client
from tests.authority import Authority

Open = Callable[[str], Client]


@pytest.fixture
def opened(address: str, channel: grpc.aio.Channel, authority: Authority) -> Iterator[Open]:
    """Opens clients for a tenant that may do everything; for threads, since they block."""
    del channel  # once it is there, the service serves
    with ExitStack() as clients:

        def open_client(tenant: str) -> Client:
            return clients.enter_context(Client(events=address, token=authority.token(tenant)))

        yield open_client
