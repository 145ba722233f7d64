"""What no message can hold of a group's settings is refused by name."""

import pytest

from girih.client import GroupSettings
from girih.client.groups import messages


@pytest.mark.parametrize("lease_s", [float("nan"), float("inf"), -1e300])
def test_a_lease_that_is_no_duration_is_refused_by_name(lease_s: float) -> None:
    with pytest.raises(ValueError, match="lease_s must be"):
        messages.create_request("g", GroupSettings(lease_s=lease_s), None, None)
