"""Between the messages of the contract and what accounts are made of. Decides nothing."""

from datetime import UTC, datetime
from typing import Final, TypeVar, cast

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.accounts.grants import Access, Grant
from gateway.accounts.memberships import Membership
from gateway.accounts.policy.plans import CUSTOM, FREE, plan
from gateway.accounts.policy.roles import Role
from gateway.accounts.sessions.listing import ListedSession
from gateway.accounts.sessions.opening import Opened
from gateway.accounts.state.domain import User
from gateway.accounts.state.tenants import Invitation, Key, Member, Tenant
from gateway.accounts.tickets.ticket import QUERY_PARAMETER, Ticket
from gateway.accounts.tickets.tickets import BEGINS_WITHIN_S
from gateway.accounts.users import Joined, Registration
from girih.accounts.v1 import accounts_pb2 as pb
from services.plumbing.errors import Violations
from services.policy import PlanLimits

TOKEN_TYPE: Final = "Bearer"  # noqa: S105 - a word of RFC 6750

_INT32_MAX = 2**31 - 1

OpenedResponse = TypeVar("OpenedResponse", pb.LoginResponse, pb.SwitchTenantResponse)


def registration(request: pb.RegisterRequest) -> Registration:
    return Registration(
        email=request.email,
        password=request.password,
        name=request.name,
        tenant_name=request.tenant_name,
    )


def canonical(uuid: str) -> str:
    """The one spelling of a UUID that fits the contract; empty stays empty."""
    return uuid.lower()


def plan_limits(message: pb.Plan) -> PlanLimits:
    """Raises InvalidInput when the plan is not known, or has numbers that it cannot have."""
    numbers = {name: getattr(message, name) for name in FREE.numbers()}
    if message.name == CUSTOM:
        return PlanLimits(CUSTOM, **numbers)
    violations = Violations()
    for name, number in numbers.items():
        if number:
            violations.add(f"plan.{name}", "must be given for custom plans only")
    violations.raise_if_any()
    return plan(message.name)


def registered(joined: Joined) -> pb.RegisterResponse:
    return pb.RegisterResponse(user=user(joined.user), tenant=tenant(joined.tenant))


def logged_in(opened: Opened) -> pb.LoginResponse:
    return _opened(pb.LoginResponse, opened)


def switched(opened: Opened) -> pb.SwitchTenantResponse:
    return _opened(pb.SwitchTenantResponse, opened)


def _opened(response: type[OpenedResponse], opened: Opened) -> OpenedResponse:
    return response(
        access_token=opened.grant.access.token,
        token_type=TOKEN_TYPE,
        expires_in=opened.grant.access.expires_in_s,
        refresh_token=opened.grant.refresh_token,
        user=user(opened.user),
        tenant=tenant(opened.tenant),
        role=role_number(opened.role),
    )


def refreshed(grant: Grant) -> pb.RefreshResponse:
    tokens = pb.Tokens(
        access_token=grant.access.token,
        token_type=TOKEN_TYPE,
        expires_in=grant.access.expires_in_s,
        refresh_token=grant.refresh_token,
    )
    return pb.RefreshResponse(tokens=tokens)


def exchanged(access: Access) -> pb.ExchangeKeyResponse:
    return pb.ExchangeKeyResponse(
        access_token=access.token, token_type=TOKEN_TYPE, expires_in=access.expires_in_s
    )


def stream_ticket(url: str, ticket: Ticket) -> pb.CreateStreamTicketResponse:
    joint = "&" if "?" in url else "?"
    return pb.CreateStreamTicketResponse(
        url=f"{url}{joint}{QUERY_PARAMETER}={ticket.text}", expires_in=BEGINS_WITHIN_S
    )


def accepted(joined: Joined) -> pb.AcceptInvitationResponse:
    return pb.AcceptInvitationResponse(
        user=user(joined.user), tenant=tenant(joined.tenant), role=role_number(joined.role)
    )


def user(source: User) -> pb.User:
    return pb.User(
        user_id=source.user_id,
        email=source.email,
        name=source.name,
        created_at=_time(source.registered_at_ms),
    )


def tenant(source: Tenant) -> pb.Tenant:
    return pb.Tenant(
        tenant_id=source.tenant_id,
        name=source.name,
        plan=plan_message(source.plan),
        created_at=_time(source.created_at_ms),
    )


def plan_message(plan: PlanLimits) -> pb.Plan:
    """Its numbers are called the same in the contract."""
    return pb.Plan(name=plan.name, **plan.numbers())


def session(source: ListedSession) -> pb.Session:
    opened = source.opened.session
    return pb.Session(
        session_id=opened.session_id,
        tenant_id=opened.tenant_id,
        tenant_name=source.opened.tenant.name,
        opened_at=_time(opened.opened_at_ms),
        refreshed_at=_time(opened.moved_at_ms),
        expires_at=_time(source.expires_at_ms),
        address=opened.came_from.address,
        agent=opened.came_from.agent,
        is_current=source.is_current,
    )


def membership(source: Membership) -> pb.Membership:
    return pb.Membership(
        tenant=tenant(source.tenant),
        role=role_number(source.member.role),
        joined_at=_time(source.member.joined_at_ms),
    )


def member(source: Member) -> pb.Member:
    who = pb.User(
        user_id=source.user_id,
        email=source.email,
        name=source.name,
        created_at=_time(source.registered_at_ms),
    )
    return pb.Member(user=who, role=role_number(source.role), joined_at=_time(source.joined_at_ms))


def invitation(source: Invitation) -> pb.Invitation:
    return pb.Invitation(
        invitation_id=source.invitation_id,
        email=source.email,
        role=role_number(source.role),
        created_at=_time(source.created_at_ms),
        expires_at=_time(source.expires_at_ms),
    )


def key(source: Key, last_used_at_ms: int | None) -> pb.Key:
    return pb.Key(
        key_id=source.key_id,
        name=source.name,
        scopes=source.scopes,
        created_at=_time(source.created_at_ms),
        expires_at=_time(source.expires_at_ms) if source.expires_at_ms else None,
        last_used_at=_time(last_used_at_ms) if last_used_at_ms else None,
        created_by=source.created_by,
    )


def role_number(role: Role) -> pb.Role:
    return cast("pb.Role", pb.Role.Value(f"ROLE_{role.name}"))


def _time(at_ms: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.fromtimestamp(at_ms / 1_000, UTC))
    return stamp


def clamped(count: int) -> int:
    """As an int32, which is as far as a count goes there."""
    return min(count, _INT32_MAX)
