"""The plans that come with girih."""

import pytest

from gateway.accounts.policy.plans import FREE, PLANS, plan, read_plans
from services.plumbing.errors import InvalidInput
from services.plumbing.identity import PlanLimits


def test_the_plans_are_what_was_promised() -> None:
    assert dict(PLANS) == {
        "free": PlanLimits("free", lattices=5, axes=3, extent=10, calls=1_000),
        "professional": PlanLimits(
            "professional", lattices=500, axes=10, extent=100, calls=100_000
        ),
    }


def test_a_plan_is_found_by_its_name() -> None:
    assert plan("free") is FREE


@pytest.mark.parametrize("name", ["custom", "", "Free", "enterprise"])
def test_a_plan_that_is_not_for_everybody_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="free, professional, or custom"):
        plan(name)


@pytest.mark.parametrize(
    "text",
    [
        "[free]\nlattices = 5\naxes = 3\nextent = 10",
        "[free]\nlattices = 5\naxes = 3\nextent = 10\ncalls = -1",
        "[free]\nlattices = 5\naxes = 3\nextent = 10\ncalls = 1.5",
        "[free]\nlattices = 5\naxes = 3\nextent = 10\ncalls = true",
        "[free]\nlattices = 5\naxes = 3\nextent = 10\ncalls = 1\nsites = 1",
        "[custom]\nlattices = 5\naxes = 3\nextent = 10\ncalls = 1",
    ],
)
def test_a_table_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        read_plans(text)
