"""The event store of the client's tests, for programs that use the client."""

import pytest

from tests.authority import Authority
from tests.client.conftest import address, events, tenant

__all__ = ["address", "events", "tenant"]


@pytest.fixture
def environ(address: str, authority: Authority, tenant: str) -> dict[str, str]:
    """What tells `Client()` where to call, and as whom."""
    return {"GIRIH_EVENTS_ADDRESS": address, "DOCUMENTS_TOKEN": authority.token(tenant)}
