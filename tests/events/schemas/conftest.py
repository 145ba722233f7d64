"""The service of schemas beside that of events, and short ways to what it is asked."""

from typing import TYPE_CHECKING

import grpc.aio
import pytest

from girih.events.v1.schemas_pb2_grpc import SchemaServiceStub

if TYPE_CHECKING:
    from girih.events.v1.schemas_pb2_grpc import SchemaServiceAsyncStub


@pytest.fixture
def schemas(channel: grpc.aio.Channel) -> "SchemaServiceAsyncStub":
    return SchemaServiceStub(channel)
