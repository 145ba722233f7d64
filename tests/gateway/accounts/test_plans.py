"""The plans that come with girih."""

import pytest

from gateway.accounts.policy.plans import CUSTOM, FREE, PLANS, plan, read_plans
from gateway.accounts.policy.roles import KEY_SCOPES
from girih.accounts.v1 import accounts_pb2 as pb
from girih.rules.words import rules_of
from services.plumbing.errors import InvalidInput
from services.policy import PlanLimits


def test_the_plans_are_what_was_promised() -> None:
    assert dict(PLANS) == {
        "free": PlanLimits("free", 5, 3, 10, 1_000, 20, 5, 3),
        "professional": PlanLimits("professional", 500, 10, 100, 100_000, 1_000, 200, 50),
        "unlimited": PlanLimits("unlimited", 0, 0, 0, 0),
    }


def test_a_plan_is_found_by_its_name() -> None:
    assert plan("free") is FREE


@pytest.mark.parametrize("name", ["custom", "", "Free", "enterprise"])
def test_a_plan_that_is_not_for_everybody_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="free, professional, unlimited, or custom"):
        plan(name)


def test_the_contract_names_all_plans_and_all_scopes_of_keys() -> None:
    names = rules_of(pb.Plan.DESCRIPTOR.fields_by_name["name"]).string
    scopes = rules_of(pb.CreateKeyRequest.DESCRIPTOR.fields_by_name["scopes"]).repeated.items.string

    assert set(getattr(names, "in")) == {*PLANS, CUSTOM}
    assert set(getattr(scopes, "in")) == KEY_SCOPES


THREE = "lattice_count_max = 5\naxis_count_max = 3\nextent_max = 10\n"


@pytest.mark.parametrize(
    "text",
    [
        f"[free]\n{THREE}",
        f"[free]\n{THREE}monthly_call_count_max = -1",
        f"[free]\n{THREE}monthly_call_count_max = 1.5",
        f"[free]\n{THREE}monthly_call_count_max = true",
        f"[free]\n{THREE}monthly_call_count_max = 1\nsites = 1",
        f"[custom]\n{THREE}monthly_call_count_max = 1",
    ],
)
def test_a_table_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        read_plans(text)
