"""What no message can hold of a group's settings is refused by name."""

from collections.abc import Callable

import pytest
from google.protobuf.message import Message

from girih.client import GroupSettings
from girih.client.groups import messages


@pytest.mark.parametrize("lease_s", [float("nan"), float("inf"), -1e300])
def test_a_lease_that_is_no_duration_is_refused_by_name(lease_s: float) -> None:
    with pytest.raises(ValueError, match="lease_s must be"):
        messages.create_request("g", GroupSettings(lease_s=lease_s), None, None)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("lane_count", lambda: _create(GroupSettings(lane_count=2**31))),
        ("attempt_count_max", lambda: _create(GroupSettings(attempt_count_max=2**70))),
        ("held_count_max", lambda: _create(GroupSettings(held_count_max=-(2**40)))),
        ("expected_version", lambda: messages.update_request("g", GroupSettings(), 2**63)),
        ("from_position", lambda: messages.reset_request("g", 2**70, None)),
        ("positions\\[1\\]", lambda: messages.replay_request("g", [1, 2**70])),
        ("positions\\[0\\]", lambda: messages.discard_request("g", [2**70])),
        ("credits", lambda: messages.consumer_start("g", "", 2**31)),
    ],
)
def test_a_number_that_no_field_has_room_for_is_refused_by_name(
    name: str, make: Callable[[], Message]
) -> None:
    with pytest.raises(ValueError, match=f"^{name} must have no more than (32|64) bits"):
        make()


def _create(settings: GroupSettings) -> Message:
    return messages.create_request("g", settings, None, None)
