"""What girih itself decides about identity: services, scopes, issuers and plans, in one table.

`services.plumbing` has the mechanisms and is handed this. Versions run side by side while
replicas are replaced, so everything here may gain entries: a replica that does not know one
yet passes over it, and enforces all that it knows.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

from services.plumbing.auth.policy import IssuerPolicy, TokenPolicy
from services.plumbing.identity import OPS_READ, Principal

GATEWAY: Final = "gateway.girih"
EVENTS: Final = "events.girih"
LATTICE: Final = "lattice.girih"
PROJECTIONS: Final = "projections.girih"

SCOPES: Final = frozenset(
    {
        "events.append",
        "events.read",
        "groups.consume",
        "groups.read",
        "groups.write",
        "keys.read",
        "keys.write",
        "lattices.read",
        "lattices.write",
        "logs.place",
        "logs.restore",
        "members.read",
        "members.write",
        OPS_READ,
        "plans.write",
        "projections.read",
        "projections.write",
        "schemas.write",
        "settings.read",
        "streams.write",
        "usage.read",
    }
)
"""Every scope there is."""

RESERVED_TENANTS: Final = "girih-"
"""What the names of tenants begin with that belong to no user."""


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What a tenant's plan allows. 0 means that it sets no bound.

    The numbers are named as in the contract's `Plan`; tokens, records and `plans.toml` take
    their names from here. One that is added gets a default, or the tokens that older gateways
    issue would not be believed.
    """

    name: str
    lattice_count_max: int
    """Lattices at once."""
    axis_count_max: int
    """Axes of one lattice."""
    extent_max: int
    """Length of one axis."""
    monthly_call_count_max: int
    """Calls through the gateway in a calendar month."""
    schema_count_max: int = 0
    """Versions of schemas registered at once."""
    group_count_max: int = 0
    """Consumer groups at once."""
    job_count_max: int = 0
    """Jobs that wait or run at once."""

    @classmethod
    def read(cls, values: Mapping[str, object]) -> Self:
        """The plan that `values` state by name, passing over names it does not know.

        Raises ValueError when a number is missing, or is not a whole number of 0 or more.
        """
        known: dict[str, Any] = {
            field.name: values[field.name] for field in fields(cls) if field.name in values
        }
        try:
            plan = cls(**known)
        except TypeError:
            raise ValueError("a plan must have a name and all its numbers") from None
        if any(type(number) is not int or number < 0 for number in plan.numbers().values()):
            raise ValueError("the numbers of a plan must be whole numbers of 0 or more")
        return plan

    def numbers(self) -> dict[str, int]:
        """All but the name, in the order of their definition."""
        return {name: number for name, number in asdict(self).items() if name != "name"}

    def claim(self) -> Mapping[str, object]:
        """What tokens say of it."""
        return asdict(self)


def plan_of(principal: Principal | None) -> PlanLimits | None:
    """The plan that a caller's token states, if it states one."""
    plan = principal.plan if principal is not None else None
    return plan if isinstance(plan, PlanLimits) else None


POLICY: Final = TokenPolicy(
    audiences=(EVENTS, GATEWAY, LATTICE, PROJECTIONS),
    scopes=SCOPES,
    issuers={
        GATEWAY: IssuerPolicy(
            access_tokens=True,
            service_scopes=SCOPES,
            reserved_tenants=True,
            alone_for_tenants=True,
        ),
        # Keeps lattices in its callers' logs, and may do nothing else.
        LATTICE: IssuerPolicy(service_scopes=frozenset({"events.append", "events.read"})),
        # Reads the log of every tenant, for nobody in particular, and may change nothing.
        PROJECTIONS: IssuerPolicy(
            service_scopes=frozenset({"events.read", OPS_READ}), alone_for_tenants=True
        ),
    },
    reserved_tenants=RESERVED_TENANTS,
    read_plan=PlanLimits.read,
)
"""What servers verify by."""
