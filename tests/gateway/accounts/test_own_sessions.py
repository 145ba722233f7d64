"""What users see of their sessions and tenants: listed, ended one by one, switched."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from gateway.accounts.errors import (
    NotAUser,
    RefreshTokenInvalid,
    SessionNotFound,
    TenantNotFound,
)
from gateway.accounts.sessions import listing
from gateway.accounts.state import domain
from gateway.accounts.state.events import SessionOpened
from gateway.http.agent import AGENT_CHARS_MAX, caller_agent, enter_agent
from gateway.http.caller import enter_address
from girih.accounts.v1 import accounts_pb2 as pb
from services.plumbing.auth.tokens import TokenInvalid
from services.plumbing.errors import InvalidInput
from tests.gateway.accounts.replicas import PASSWORD, Replica, fresh_email


async def sessions_of(replica: Replica, who: pb.LoginResponse) -> list[pb.Session]:
    answer = await replica.call("ListSessions", pb.ListSessionsRequest(), who.access_token)
    return list(answer.sessions)


def id_of(refresh_token: str) -> str:
    return str(UUID(refresh_token.partition(".")[0]))


async def test_open_sessions_are_listed_the_last_first_with_where_they_came_from(
    replica: Replica,
) -> None:
    owner = await replica.owner()
    enter_address("203.0.113.7")
    enter_agent({b"user-agent": b"a browser"})
    second = await replica.login(owner.user.email)

    listed = await sessions_of(replica, owner)

    assert [one.session_id for one in listed] == [
        id_of(second.refresh_token),
        id_of(owner.refresh_token),
    ]
    assert [one.is_current for one in listed] == [False, True]
    assert (listed[0].address, listed[0].agent) == ("203.0.113.7", "a browser")
    assert listed[0].tenant_name == owner.tenant.name
    assert listed[0].expires_at.seconds - listed[0].refreshed_at.seconds == 14 * 24 * 3_600


async def test_what_has_ended_or_expired_is_not_listed(replica: Replica) -> None:
    owner = await replica.owner()
    logged_out, idle = [await replica.login(owner.user.email) for _ in range(2)]
    await replica.call("Logout", pb.LogoutRequest(refresh_token=logged_out.refresh_token))
    replica.clock.pass_s(13 * 24 * 3_600)
    await replica.refresh(owner.refresh_token)
    replica.clock.pass_s(2 * 24 * 3_600)
    del idle
    now = await replica.login(owner.user.email)

    listed = await sessions_of(replica, now)

    assert {one.session_id for one in listed} == {
        id_of(owner.refresh_token),
        id_of(now.refresh_token),
    }


async def test_sessions_of_others_are_neither_listed_nor_ended(replica: Replica) -> None:
    owner = await replica.owner()
    member = await replica.joined(owner, pb.ROLE_ADMIN)
    request = pb.EndSessionRequest(session_id=id_of(owner.refresh_token))

    assert len(await sessions_of(replica, member)) == 1
    with pytest.raises(SessionNotFound):
        await replica.call("EndSession", request, member.access_token)

    await replica.refresh(owner.refresh_token)


async def test_an_ended_session_is_over_at_once_and_the_others_go_on(replica: Replica) -> None:
    owner = await replica.owner()
    lost = await replica.login(owner.user.email)
    request = pb.EndSessionRequest(session_id=id_of(lost.refresh_token).upper())

    await replica.call("EndSession", request, owner.access_token)

    with pytest.raises(TokenInvalid):
        await replica.call("WhoAmI", pb.WhoAmIRequest(), lost.access_token)
    with pytest.raises(RefreshTokenInvalid):
        await replica.refresh(lost.refresh_token)
    assert [one.is_current for one in await sessions_of(replica, owner)] == [True]
    with pytest.raises(SessionNotFound):
        await replica.call("EndSession", request, owner.access_token)


async def test_a_session_of_an_earlier_version_is_listed_once_it_was_refreshed(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened_then(*values: Any) -> SessionOpened:
        return replace(opened_now(*values), is_listed=False)

    opened_now = domain.opened
    with monkeypatch.context() as earlier:
        earlier.setattr("gateway.accounts.sessions.opening.sessions_tag", lambda _user: "no-tag")
        earlier.setattr(domain, "opened", opened_then)
        owner = await replica.owner()
    unlisted = await sessions_of(replica, owner)

    await replica.refresh(owner.refresh_token)

    assert unlisted == []
    assert len(await sessions_of(replica, owner)) == 1


async def test_a_key_has_no_sessions_and_no_tenants(replica: Replica) -> None:
    owner = await replica.owner()
    request = pb.CreateKeyRequest(name="machine", scopes=["events.read"])
    made = await replica.call("CreateKey", request, owner.access_token)
    token = await replica.accounts.token_of_key(made.secret)

    for rpc, asked in (
        ("ListSessions", pb.ListSessionsRequest()),
        ("EndSession", pb.EndSessionRequest(session_id=id_of(owner.refresh_token))),
        ("ListTenants", pb.ListTenantsRequest()),
    ):
        with pytest.raises(NotAUser):
            await replica.call(rpc, asked, token)


async def in_two_tenants(replica: Replica) -> tuple[pb.LoginResponse, pb.LoginResponse]:
    """The owner of a tenant, and a viewer there who owns another."""
    owner, guest = await replica.owner(), await replica.owner()
    invited = await replica.invite(owner, guest.user.email, pb.ROLE_VIEWER)
    request = pb.AcceptInvitationRequest(token=invited.token, password=PASSWORD)
    await replica.call("AcceptInvitation", request)
    return owner, guest


async def test_tenants_are_listed_in_the_order_of_joining_page_by_page(replica: Replica) -> None:
    owner, guest = await in_two_tenants(replica)
    ask = pb.ListTenantsRequest(page_size=1)

    first = await replica.call("ListTenants", ask, guest.access_token)
    ask.page_token = first.next_page_token
    second = await replica.call("ListTenants", ask, guest.access_token)

    listed = [*first.memberships, *second.memberships]
    assert [(one.tenant.tenant_id, one.role) for one in listed] == [
        (guest.tenant.tenant_id, pb.ROLE_OWNER),
        (owner.tenant.tenant_id, pb.ROLE_VIEWER),
    ]
    assert second.next_page_token == ""
    with pytest.raises(InvalidInput, match="page_token"):
        await replica.call("ListTenants", pb.ListTenantsRequest(page_token="?"), owner.access_token)


async def test_a_session_moves_to_another_tenant_and_the_former_is_over(replica: Replica) -> None:
    owner, guest = await in_two_tenants(replica)
    tenant_id = owner.tenant.tenant_id
    request = pb.SwitchTenantRequest(refresh_token=guest.refresh_token, tenant_id=tenant_id)

    switched = await replica.call("SwitchTenant", request)

    me = await replica.call("WhoAmI", pb.WhoAmIRequest(), switched.access_token)
    assert (me.tenant.tenant_id, me.role, me.user) == (tenant_id, pb.ROLE_VIEWER, guest.user)
    with pytest.raises(TokenInvalid):
        await replica.call("WhoAmI", pb.WhoAmIRequest(), guest.access_token)
    with pytest.raises(RefreshTokenInvalid):
        await replica.call("SwitchTenant", request)
    await replica.refresh(switched.refresh_token)


async def test_nobody_switches_to_where_they_are_no_member(replica: Replica) -> None:
    owner, stranger = await replica.owner(), await replica.owner()
    tenant_id = owner.tenant.tenant_id
    request = pb.SwitchTenantRequest(refresh_token=stranger.refresh_token, tenant_id=tenant_id)

    with pytest.raises(TenantNotFound):
        await replica.call("SwitchTenant", request)

    assert (await replica.refresh(stranger.refresh_token)).access_token


async def test_no_more_sessions_are_listed_than_the_contract_says(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "SESSIONS_MAX", 2)
    email = fresh_email()
    await replica.register(email)
    opened = [await replica.login(email) for _ in range(3)]

    listed = await sessions_of(replica, opened[0])

    newest_first = [id_of(one.refresh_token) for one in reversed(opened)]
    assert [one.session_id for one in listed] == newest_first[:2]


def test_what_programs_call_themselves_is_cut_and_has_no_control_characters() -> None:
    enter_agent({b"user-agent": b"a\x1b[31m\tb" + b"c" * 1_000})

    assert caller_agent().startswith("a[31mbccc")
    assert len(caller_agent()) == AGENT_CHARS_MAX
