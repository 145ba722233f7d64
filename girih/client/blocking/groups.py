# Made of girih/client/groups/client.py by `python -m release.blocking_client`: change that.
"""The consumer groups of a tenant, without asyncio. Knows the rpcs that are no streams."""

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from girih.client.blocking.calls import unary
from girih.client.caller import Caller
from girih.client.groups import messages
from girih.client.groups.values import Group, GroupSettings, GroupSummary, ParkedEvent
from girih.events.v1 import groups_pb2 as pb
from girih.ids import Position

if TYPE_CHECKING:
    from girih.events.v1.groups_pb2_grpc import GroupServiceStub

_DEFAULT = GroupSettings()


class Groups:
    """Creates groups, changes them, and tells how far they are. `consume` takes part in one."""

    def __init__(self, stub: "GroupServiceStub", caller: Caller) -> None:
        self._stub = stub
        self._caller = caller

    def create(
        self,
        group: str,
        settings: GroupSettings = _DEFAULT,
        *,
        from_position: int | None = None,
        from_time: datetime | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Create a group, from the beginning of the log unless a start is given; answers whether
        it was not there already. Raises GroupExists when it was, with other settings.
        """
        request = messages.create_request(group, settings, from_position, from_time)
        response = unary(self._caller, self._stub.CreateGroup, request, timeout)
        return not response.already_exists

    def update(
        self,
        group: str,
        settings: GroupSettings,
        *,
        expected_version: int | None = None,
        timeout: float | None = None,
    ) -> int:
        """Change all settings of a group, in place; answers their version. Raises GroupChanged
        when that was not `expected_version`, and GroupNotFound.
        """
        request = messages.update_request(group, settings, expected_version)
        response = unary(self._caller, self._stub.UpdateGroup, request, timeout)
        return response.version

    def get(self, group: str, *, timeout: float | None = None) -> Group:
        """Its settings, its consumers and how far its lanes are. Raises GroupNotFound."""
        request = pb.GetGroupRequest(group=group)
        return messages.group(unary(self._caller, self._stub.GetGroup, request, timeout))

    def list(self, *, timeout: float | None = None) -> Generator[GroupSummary]:
        """All of the tenant, by name, page after page."""
        request = pb.ListGroupsRequest(page_size=messages.PAGE_SIZE)
        while True:
            page = unary(self._caller, self._stub.ListGroups, request, timeout)
            yield from messages.summaries(page)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def delete(self, group: str, *, timeout: float | None = None) -> None:
        """Delete a group and all that is known of it; nothing happens where there is none."""
        request = pb.DeleteGroupRequest(group=group)
        unary(self._caller, self._stub.DeleteGroup, request, timeout)

    def reset(
        self,
        group: str,
        *,
        from_position: int | None = None,
        from_time: datetime | None = None,
        timeout: float | None = None,
    ) -> Position:
        """Have a group go on at a place, the beginning of the log unless one is given, whatever
        was acknowledged; answers where that is. Raises GroupNotFound, BeyondEnd.
        """
        request = messages.reset_request(group, from_position, from_time)
        response = unary(self._caller, self._stub.ResetGroup, request, timeout)
        return Position(response.position)

    def parked(self, group: str, *, timeout: float | None = None) -> Generator[ParkedEvent]:
        """What a group has parked, in the order of the log, page after page."""
        request = pb.ListParkedEventsRequest(group=group, page_size=messages.PAGE_SIZE)
        while True:
            page = unary(self._caller, self._stub.ListParkedEvents, request, timeout)
            yield from messages.parked_events(page)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def replay(
        self, group: str, positions: Sequence[int] | None = None, *, timeout: float | None = None
    ) -> int:
        """Give parked events to consumers again, all of them for None and nothing for no positions;
        answers how many. Raises ParkedEventNotFound."""
        if positions is not None and not positions:
            return 0
        request = messages.replay_request(group, positions)
        response = unary(self._caller, self._stub.ReplayParkedEvents, request, timeout)
        return response.event_count

    def discard(
        self, group: str, positions: Sequence[int] | None = None, *, timeout: float | None = None
    ) -> int:
        """Take parked events for settled, all of them for None and nothing for no positions;
        answers how many. Raises ParkedEventNotFound."""
        if positions is not None and not positions:
            return 0
        request = messages.discard_request(group, positions)
        response = unary(self._caller, self._stub.DiscardParkedEvents, request, timeout)
        return response.event_count
