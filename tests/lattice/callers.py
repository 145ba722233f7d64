"""Who makes the calls of tests that go through no server."""

from girih.ids import TenantId
from services.plumbing.correlation import Call
from services.plumbing.identity import Principal
from services.policy import GATEWAY, SCOPES
from tests.authority import UNLIMITED, USER


def call_of(tenant: str, subject: str = USER) -> Call:
    """A call of one of the tenant's users."""
    user = Principal(TenantId(tenant), subject, SCOPES, GATEWAY, role="owner", plan=UNLIMITED)
    return Call(correlation_id="test", tenant=TenantId(tenant), principal=user)
