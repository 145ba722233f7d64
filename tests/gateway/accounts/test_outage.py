"""The event store goes and comes back: accounts say so at once, and lose nothing."""

import asyncio

import pytest

from girih.accounts.v1 import accounts_pb2 as pb
from services.plumbing.auth.tokens import TokenInvalid
from services.plumbing.errors import EventsUnavailable
from tests.events.serving import eventually
from tests.gateway.accounts.replicas import Replica, fresh_email
from tests.processes import Process


async def test_without_its_store_nothing_is_decided_and_afterwards_everything_goes_on(
    replica: Replica, other_replica: Replica, event_store: tuple[Process, str]
) -> None:
    owner = await replica.owner()
    process, _ = event_store
    process.kill()

    for rpc, request in (
        ("Register", pb.RegisterRequest(email=fresh_email(), password="test123", name="Ada")),
        ("Login", pb.LoginRequest(email=owner.user.email, password="test123")),
        ("Refresh", pb.RefreshRequest(refresh_token=owner.refresh_token)),
        ("Logout", pb.LogoutRequest(refresh_token=owner.refresh_token)),
    ):
        with pytest.raises(EventsUnavailable):
            await replica.call(rpc, request)

    process.start()
    await asyncio.to_thread(process.wait_ready)

    async def is_back() -> bool:
        try:
            await replica.refresh(owner.refresh_token)
        except EventsUnavailable:
            return False
        return True

    await eventually(is_back)
    await replica.call("Logout", pb.LogoutRequest(refresh_token=owner.refresh_token))

    async def is_known_elsewhere() -> bool:
        try:
            await other_replica.call("WhoAmI", pb.WhoAmIRequest(), owner.access_token)
        except TokenInvalid:
            return True
        except EventsUnavailable:
            return False
        return False

    await eventually(is_known_elsewhere)
