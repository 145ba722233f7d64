"""The rpcs of `GroupService`: convert, call, convert back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final
from uuid import uuid4

import grpc.aio

from girih.events.v1 import groups_pb2 as pb
from girih.ids import Position
from services.events.errors import ConsumerSilent
from services.events.groups import convert, talk
from services.events.groups.administration import Groups
from services.events.groups.consumer import Consumer, Parts
from services.events.lanes.group import GroupName
from services.events.lanes.store import ConsumerId
from services.plumbing import correlation, validation
from services.plumbing.errors import InvalidInput
from services.plumbing.grpc.requests import Requests
from services.policy import plan_of

START_S: Final = 10.0
"""So long a call may be without its first message."""

Context = grpc.aio.ServicerContext[Any, Any]


class GroupServicer:
    """The consumer groups of the calling tenant, over gRPC."""

    def __init__(self, groups: Groups, parts: Parts, domain: str) -> None:
        """`domain` stands in refusals."""
        self._groups = groups
        self._parts = parts
        self._domain = domain

    async def CreateGroup(
        self, request: pb.CreateGroupRequest, _context: Context
    ) -> pb.CreateGroupResponse:
        settings = convert.settings(request)
        start = convert.start(request.start, "start")
        call = correlation.current()
        plan = plan_of(call.principal)
        count_max = plan.group_count_max if plan is not None else 0
        version, is_new = await self._groups.create(
            call.tenant, GroupName(request.group), settings, start, count_max
        )
        return pb.CreateGroupResponse(version=version, already_exists=not is_new)

    async def UpdateGroup(
        self, request: pb.UpdateGroupRequest, _context: Context
    ) -> pb.UpdateGroupResponse:
        settings = convert.settings(request)
        version = await self._groups.update(
            correlation.current().tenant,
            GroupName(request.group),
            settings,
            request.expected_version,
        )
        return pb.UpdateGroupResponse(version=version)

    async def GetGroup(self, request: pb.GetGroupRequest, _context: Context) -> pb.GetGroupResponse:
        validation.check(request)
        group = GroupName(request.group)
        state = await self._groups.state(correlation.current().tenant, group)
        return convert.group_response(group, state)

    async def ListGroups(
        self, request: pb.ListGroupsRequest, _context: Context
    ) -> pb.ListGroupsResponse:
        validation.check(request)
        count_max = convert.page_count_max(request.page_size)
        tenant = correlation.current().tenant
        groups = await self._groups.groups(tenant, request.page_token, count_max)
        return convert.groups_response(groups, count_max)

    async def DeleteGroup(
        self, request: pb.DeleteGroupRequest, _context: Context
    ) -> pb.DeleteGroupResponse:
        validation.check(request)
        await self._groups.delete(correlation.current().tenant, GroupName(request.group))
        return pb.DeleteGroupResponse()

    async def ResetGroup(
        self, request: pb.ResetGroupRequest, _context: Context
    ) -> pb.ResetGroupResponse:
        validation.check(request)
        start = convert.start(request.start, "start")
        tenant = correlation.current().tenant
        position = await self._groups.reset(tenant, GroupName(request.group), start)
        return pb.ResetGroupResponse(position=position)

    async def ListParkedEvents(
        self, request: pb.ListParkedEventsRequest, _context: Context
    ) -> pb.ListParkedEventsResponse:
        validation.check(request)
        count_max = convert.page_count_max(request.page_size)
        behind = Position(int(request.page_token or 0))
        tenant = correlation.current().tenant
        events = await self._groups.parked(tenant, GroupName(request.group), behind, count_max)
        return convert.parked_response(events, count_max)

    async def ReplayParkedEvents(
        self, request: pb.ReplayParkedEventsRequest, _context: Context
    ) -> pb.ReplayParkedEventsResponse:
        positions = convert.positions(request)
        tenant = correlation.current().tenant
        count = await self._groups.replay(tenant, GroupName(request.group), positions)
        return pb.ReplayParkedEventsResponse(event_count=count)

    async def DiscardParkedEvents(
        self, request: pb.DiscardParkedEventsRequest, _context: Context
    ) -> pb.DiscardParkedEventsResponse:
        positions = convert.positions(request)
        tenant = correlation.current().tenant
        count = await self._groups.discard(tenant, GroupName(request.group), positions)
        return pb.DiscardParkedEventsResponse(event_count=count)

    async def Consume(
        self, requests: Requests[pb.ConsumeRequest], _context: Context
    ) -> AsyncIterator[bytes]:
        start = await _start(requests)
        call = correlation.current()
        actor = call.principal.subject if call.principal else ""
        who = ConsumerId(call.tenant, start.group, str(uuid4()), start.called, actor)
        consumer = Consumer(who, self._parts)
        async with aclosing(consumer.responses(start, _converted(requests))) as responses:
            async for response in responses:
                yield convert.response(response, self._domain)


async def _start(requests: Requests[pb.ConsumeRequest]) -> talk.Start:
    """Who consumes what, which is to be said soon: until then nothing tells who has left."""
    try:
        async with asyncio.timeout(START_S):
            async for request in requests:
                return convert.first_request(request)
    except TimeoutError:
        raise ConsumerSilent(
            f"the consumer has not said within {START_S:g} s what it consumes", lease_s=START_S
        ) from None
    raise InvalidInput.of("start", "must come first")


async def _converted(
    requests: Requests[pb.ConsumeRequest],
) -> AsyncIterator[talk.Request | talk.Refused]:
    async for request in requests:
        yield convert.request(request)
