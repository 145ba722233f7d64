"""The plans that tenants may be on, as `plans.toml` beside this module has them."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

from services.plumbing.errors import InvalidInput
from services.policy import PlanLimits

CUSTOM: Final = "custom"
"""The name of every plan whose numbers are a tenant's own."""


def plan(name: str) -> PlanLimits:
    """The plan of this name; raises InvalidInput, also for `custom`, which is no one plan."""
    limits = PLANS.get(name)
    if limits is None:
        known = ", ".join(sorted(PLANS))
        raise InvalidInput.of("plan.name", f"must be {known}, or {CUSTOM} with its numbers")
    return limits


def read_plans(text: str) -> Mapping[str, PlanLimits]:
    """The plans in a TOML text; raises ValueError or TypeError when it is not one of plans."""
    return MappingProxyType(
        {name: _plan(name, numbers) for name, numbers in tomllib.loads(text).items()}
    )


def _plan(name: str, numbers: dict[str, Any]) -> PlanLimits:
    made = PlanLimits(name=name, **numbers)
    if name == CUSTOM or any(type(count) is not int or count < 0 for count in numbers.values()):
        raise ValueError(f"the plan {name!r} is not one that everybody could be on")
    return made


# Part of the code that happens to be easier to read as a table: nothing outside is asked.
PLANS: Final = read_plans(files(__package__).joinpath("plans.toml").read_text("utf-8"))
"""By name."""

FREE: Final = PLANS["free"]
"""What a new tenant is on, unless settings say otherwise."""
