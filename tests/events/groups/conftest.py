"""Groups, and processes that serve them."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from girih.events.v1 import groups_pb2 as pb
from girih.events.v1.groups_pb2_grpc import GroupServiceStub

if TYPE_CHECKING:
    from girih.events.v1.groups_pb2_grpc import GroupServiceAsyncStub

Create = Callable[..., Awaitable[pb.CreateGroupResponse]]


@pytest.fixture
def groups(channel: grpc.aio.Channel) -> "GroupServiceAsyncStub":
    return GroupServiceStub(channel)


@pytest.fixture
def create(groups: "GroupServiceAsyncStub") -> Create:
    """Creates a group, `g` of one lane unless it is told otherwise."""

    async def create(group: str = "g", **settings: Any) -> pb.CreateGroupResponse:
        start = settings.pop("start", None)
        message = pb.GroupSettings(**{"lane_count": 1, **settings})
        return await groups.CreateGroup(
            pb.CreateGroupRequest(group=group, settings=message, start=start)
        )

    return create
