"""A gateway that starts: what it knows before it lets anybody in."""

from prometheus_client import CollectorRegistry

from gateway.composition import open_composition
from gateway.settings import Settings
from girih.accounts.v1 import accounts_pb2 as pb
from services.plumbing.tasks import OwnedTasks
from tests.authority import Authority
from tests.gateway.accounts.replicas import Replica
from tests.processes import Process


async def test_sessions_that_ended_before_are_known_from_the_first_request_on(
    replica: Replica, event_store: tuple[Process, str], authority: Authority
) -> None:
    owner = await replica.owner()
    principal = replica.verifier.verify(owner.access_token)
    await replica.call("Logout", pb.LogoutRequest(refresh_token=owner.refresh_token))
    environ = {"GIRIH_ENVIRONMENT": "development", "GATEWAY_EVENTS_ADDRESS": event_store[1]}
    settings = Settings.from_environ(authority.environ | environ)

    async with open_composition(settings, CollectorRegistry(), OwnedTasks()) as composition:
        await composition.until_caught_up()

        assert composition.admission.is_revoked(principal)
