"""The rpcs of `ProjectionService`: convert, call, convert back."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc.aio

from girih.ids import Position
from girih.projections.v1 import projections_pb2 as pb
from services.plumbing import correlation, validation
from services.plumbing.telemetry import lines
from services.projections import convert
from services.projections.control.status import Statuses
from services.projections.control.store import ControlStore
from services.projections.control.waiting import Waits
from services.projections.domain import ProjectionKey

Context = grpc.aio.ServicerContext[Any, Any]

_ANSWER_S: Final = 0.25
"""What is left of a call's time when a wait ends for it, to answer in."""


class ProjectionServicer:
    """The projections of the calling tenant, over gRPC."""

    def __init__(
        self,
        statuses: Statuses,
        store: ControlStore,
        waits: Waits,
        changed: Callable[[ProjectionKey], Awaitable[None]],
    ) -> None:
        """`changed` tells all processes that a projection is to be looked at again."""
        self._statuses = statuses
        self._store = store
        self._waits = waits
        self._changed = changed

    async def ListProjections(
        self, _request: pb.ListProjectionsRequest, _context: Context
    ) -> pb.ListProjectionsResponse:
        statuses = await self._statuses.all(correlation.current().tenant)
        return pb.ListProjectionsResponse(projections=map(convert.projection, statuses))

    async def GetProjection(
        self, request: pb.GetProjectionRequest, _context: Context
    ) -> pb.GetProjectionResponse:
        validation.check(request)
        return pb.GetProjectionResponse(projection=await self._one(request.projection))

    async def WaitForProjection(
        self, request: pb.WaitForProjectionRequest, _context: Context
    ) -> pb.WaitForProjectionResponse:
        timeout_s, call = convert.asked_timeout_s(request), correlation.current()
        own_s = call.remaining_s()
        if own_s is not None:
            timeout_s = max(0.0, min(timeout_s, own_s - _ANSWER_S))
        key = self._fit(request.projection)
        reached = await self._waits.until(key, Position(request.position), timeout_s)
        return pb.WaitForProjectionResponse(reached=reached >= request.position, position=reached)

    async def PauseProjection(
        self, request: pb.PauseProjectionRequest, _context: Context
    ) -> pb.PauseProjectionResponse:
        validation.check(request)
        key = self._key(request.projection)
        await self._store.set_paused(key, self._version(key), is_paused=True)
        lines.business("a projection was paused", projection=key.projection)
        await self._changed(key)
        return pb.PauseProjectionResponse(projection=await self._one(key.projection))

    async def ResumeProjection(
        self, request: pb.ResumeProjectionRequest, _context: Context
    ) -> pb.ResumeProjectionResponse:
        validation.check(request)
        key = self._fit(request.projection)
        await self._store.set_paused(key, self._version(key), is_paused=False)
        lines.business("a projection was resumed", projection=key.projection)
        await self._changed(key)
        return pb.ResumeProjectionResponse(projection=await self._one(key.projection))

    async def RebuildProjection(
        self, request: pb.RebuildProjectionRequest, _context: Context
    ) -> pb.RebuildProjectionResponse:
        validation.check(request)
        key = self._fit(request.projection)
        await self._store.begin_rebuild(key, self._version(key))
        lines.business("a projection is rebuilt", projection=key.projection)
        # Before it is done: a small one takes no time.
        begun = await self._one(key.projection)
        await self._changed(key)
        return pb.RebuildProjectionResponse(projection=begun)

    async def SetProjectionPolicies(
        self, request: pb.SetProjectionPoliciesRequest, _context: Context
    ) -> pb.SetProjectionPoliciesResponse:
        poison, replaced = convert.asked_policies(request)
        key = self._key(request.projection)
        await self._store.set_policies(key, self._version(key), poison, replaced)
        await self._changed(key)
        return pb.SetProjectionPoliciesResponse(projection=await self._one(key.projection))

    async def ListQuarantinedEvents(
        self, request: pb.ListQuarantinedEventsRequest, _context: Context
    ) -> pb.ListQuarantinedEventsResponse:
        behind, count_max = convert.asked_page(request)
        key = self._key(request.projection)
        page = await self._store.quarantine(key, behind, count_max + 1)
        return convert.quarantine_response(page, count_max)

    async def ReplayQuarantinedEvents(
        self, request: pb.ReplayQuarantinedEventsRequest, _context: Context
    ) -> pb.ReplayQuarantinedEventsResponse:
        validation.check(request)
        key = self._fit(request.projection)
        count = await self._store.ask_replay(key, request.stream)
        await self._changed(key)
        return pb.ReplayQuarantinedEventsResponse(event_count=count)

    async def DiscardQuarantinedEvent(
        self, request: pb.DiscardQuarantinedEventRequest, _context: Context
    ) -> pb.DiscardQuarantinedEventResponse:
        validation.check(request)
        key = self._key(request.projection)
        count = await self._store.ask_discard(key, Position(request.position))
        await self._changed(key)
        return pb.DiscardQuarantinedEventResponse(found=count > 0)

    def _key(self, name: str) -> ProjectionKey:
        """Raises ProjectionNotFound."""
        return ProjectionKey(correlation.current().tenant, self._statuses.find(name).name)

    def _fit(self, name: str) -> ProjectionKey:
        """Raises ProjectionNotFound and ProjectionUnfit."""
        return ProjectionKey(correlation.current().tenant, self._statuses.fit(name).name)

    def _version(self, key: ProjectionKey) -> str:
        return self._statuses.find(key.projection).version

    async def _one(self, name: str) -> pb.Projection:
        return convert.projection(await self._statuses.one(correlation.current().tenant, name))
