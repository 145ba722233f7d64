"""The groups whose logs are read here, each by all its consumers of this process together."""

from weakref import WeakValueDictionary

from girih.ids import TenantId
from services.events.groups.reading import Decode, Followers, GroupReading, Wanted
from services.events.lanes.group import GroupName, StoredGroup
from services.events.reading.send_budget import SendBudget


class Readings:
    """What is read for the groups of a process."""

    def __init__(self, followers: Followers, decode: Decode, send_budget: SendBudget) -> None:
        self._followers = followers
        self._decode = decode
        self._send_budget = send_budget
        self._groups: WeakValueDictionary[tuple[TenantId, GroupName, StoredGroup], GroupReading] = (
            WeakValueDictionary()
        )

    def of(
        self, tenant: TenantId, name: GroupName, group: StoredGroup, wanted: Wanted
    ) -> GroupReading:
        """What is read for a group as it is now, as long as somebody holds it."""
        key = (tenant, name, group)
        reading = self._groups.get(key)
        if reading is None:
            reading = GroupReading(tenant, wanted, self._followers, self._decode, self._send_budget)
            self._groups[key] = reading
        return reading
