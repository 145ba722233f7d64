"""Fixtures: a service for the sample contract, and a gateway in front of it."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.authority import Authority
from tests.gateway.sample import Gateway, SampleService, gateway_before


@pytest.fixture
async def service(authority: Authority) -> SampleService:
    return SampleService(authority, cancelled=asyncio.Event(), calls=[])


@pytest.fixture
async def gateway(service: SampleService, request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    """A development gateway with the service behind it."""
    is_documented = request.node.get_closest_marker("documented") is not None
    async with gateway_before(service, {"GATEWAY_DOCS": str(is_documented)}) as made:
        yield made


@pytest.fixture
async def client(gateway: Gateway) -> httpx.AsyncClient:
    """Calls the gateway in this process."""
    return gateway.client


@pytest.fixture
async def online(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """Calls the gateway through a real socket and server."""
    async with gateway.listening() as client:
        yield client
