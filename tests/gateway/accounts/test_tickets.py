"""Tickets: one stream, one page, one first use, and reconnects of the browser that had it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.accounts.errors import NotAUser, TicketInvalid
from gateway.accounts.tickets.ticket import QUERY_PARAMETER, Target, Ticket
from gateway.accounts.tickets.tickets import BEGINS_WITHIN_S, OpenedStream
from gateway.http.page import enter_page, origin_of
from girih.accounts.v1 import accounts_pb2 as pb
from services.plumbing import validation
from services.plumbing.errors import InvalidInput
from tests.authority import Authority
from tests.events.serving import eventually
from tests.gateway.accounts.replicas import Clock, Replica, open_replica
from tests.processes import Process

URL = "/v1/events?follow=true"
HERE = Target(url=URL, origin="")


def nothing(_session_id: str) -> str:
    return ""


def keeping(opened: OpenedStream) -> Callable[[str], str]:
    """A browser that has opened a stream."""
    return {opened.session_id: opened.browser_secret}.get  # type: ignore[return-value]


async def ticket_of(replica: Replica, user: pb.LoginResponse, url: str = URL) -> str:
    request = pb.CreateStreamTicketRequest(url=url)
    response = await replica.call("CreateStreamTicket", request, user.access_token)
    assert response.expires_in == BEGINS_WITHIN_S
    asked, _, text = response.url.rpartition(f"{QUERY_PARAMETER}=")
    assert asked[:-1] == url
    return str(text)


async def opened(replica: Replica, text: str, target: Target = HERE, kept: Any = nothing) -> Any:
    return await replica.accounts.tickets.open(text, target, kept)


async def test_a_ticket_opens_its_stream_as_whoever_asked_for_it(replica: Replica) -> None:
    user = await replica.owner()

    stream = await opened(replica, await ticket_of(replica, user))

    principal = replica.verifier.verify(stream.token)
    assert principal.subject == f"user:{user.user.user_id}"
    assert principal.tenant == user.tenant.tenant_id
    assert principal.session == replica.verifier.verify(user.access_token).session


async def test_of_all_replicas_one_lets_a_stream_begin(
    replica: Replica, other_replica: Replica
) -> None:
    text = await ticket_of(replica, await replica.owner())

    tries = [opened(one, text) for one in (replica, other_replica) * 5]
    answers = await asyncio.gather(*tries, return_exceptions=True)

    kinds = [type(answer) for answer in answers]
    assert (kinds.count(OpenedStream), kinds.count(TicketInvalid)) == (1, 9)


async def test_the_browser_that_began_goes_on_on_any_replica_as_long_as_it_likes(
    replica: Replica, other_replica: Replica
) -> None:
    text = await ticket_of(replica, await replica.owner())
    first = await opened(replica, text)

    at_once = await opened(other_replica, text, kept=keeping(first))
    other_replica.clock.pass_s(3_600)
    later = await opened(other_replica, text, kept=keeping(at_once))

    assert first.browser_secret == later.browser_secret


async def test_nobody_else_goes_on(replica: Replica) -> None:
    text = await ticket_of(replica, await replica.owner())
    first = await opened(replica, text)
    other = await opened(replica, await ticket_of(replica, await replica.owner()))

    for kept in (nothing, lambda _: other.browser_secret, lambda _: first.session_id):
        with pytest.raises(TicketInvalid):
            await opened(replica, text, kept=kept)


async def test_a_ticket_that_comes_too_late_opens_nothing(replica: Replica) -> None:
    user = await replica.owner()
    first = await opened(replica, await ticket_of(replica, user))
    text = await ticket_of(replica, user)
    replica.clock.pass_s(BEGINS_WITHIN_S)

    for kept in (nothing, keeping(first)):
        with pytest.raises(TicketInvalid):
            await opened(replica, text, kept=kept)


@pytest.mark.parametrize(
    "target",
    [
        Target(url="/v1/events", origin=""),
        Target(url=f"{URL}&fromPosition=1", origin=""),
        Target(url="/v1/streams/x/events?follow=true", origin=""),
        Target(url=URL, origin="https://evil.example"),
    ],
    ids=str,
)
async def test_a_ticket_is_for_one_url_and_one_origin(replica: Replica, target: Target) -> None:
    text = await ticket_of(replica, await replica.owner())

    with pytest.raises(TicketInvalid):
        await opened(replica, text, target)
    await opened(replica, text)


async def test_a_ticket_is_for_the_origin_that_asked_for_it(replica: Replica) -> None:
    enter_page({b"origin": b"https://app.girih.dev", b"host": b"girih.dev"})
    text = await ticket_of(replica, await replica.owner())

    with pytest.raises(TicketInvalid):
        await opened(replica, text)
    await opened(replica, text, Target(url=URL, origin="https://app.girih.dev"))


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({}, ""),
        ({b"origin": b"https://girih.dev", b"host": b"girih.dev"}, ""),
        ({b"origin": b"http://localhost:8000", b"host": b"localhost:8000"}, ""),
        ({b"origin": b"https://girih.dev", b"sec-fetch-site": b"same-origin"}, ""),
        ({b"host": b"girih.dev", b"sec-fetch-site": b"same-origin"}, ""),
        ({b"origin": b"https://a.dev", b"host": b"b.dev"}, "https://a.dev"),
        ({b"origin": b"null", b"host": b"girih.dev"}, "null"),
        ({b"origin": b"https://a.dev", b"sec-fetch-site": b"cross-site"}, "https://a.dev"),
    ],
)
def test_an_origin_is_told_where_it_is_not_ours(headers: dict[bytes, bytes], origin: str) -> None:
    assert origin_of(headers) == origin


async def test_a_changed_ticket_is_none(replica: Replica) -> None:
    user, other = await replica.owner(), await replica.owner()
    ticket = Ticket.parse(await ticket_of(replica, user))
    assert ticket is not None
    session_id = replica.verifier.verify(other.access_token).session

    for changed in (
        Ticket(ticket.ticket_id, ticket.session_id, ticket.begins_by_s + 1, ticket.code),
        Ticket("0" * 32, ticket.session_id, ticket.begins_by_s, ticket.code),
        Ticket(ticket.ticket_id, session_id, ticket.begins_by_s, ticket.code),
    ):
        with pytest.raises(TicketInvalid):
            await opened(replica, changed.text)
    for text in ("", "x", ticket.text[:-1], f"{ticket.text}x", ticket.text.replace(".", "-")):
        with pytest.raises(TicketInvalid):
            await opened(replica, text)


async def test_with_its_session_a_ticket_ends(replica: Replica) -> None:
    user = await replica.owner()
    text = await ticket_of(replica, user)
    first = await opened(replica, text)
    fresh = await ticket_of(replica, user)

    await replica.call("Logout", pb.LogoutRequest(refresh_token=user.refresh_token))

    for one, kept in ((text, keeping(first)), (fresh, nothing)):
        with pytest.raises(TicketInvalid):
            await opened(replica, one, kept=kept)


async def test_a_stream_ends_with_all_sessions_though_its_own_was_not_refreshed_for_long(
    replica: Replica, event_store: tuple[Process, str], authority: Authority
) -> None:
    user = await replica.owner()
    text = await ticket_of(replica, user)
    first = await opened(replica, text)
    elsewhere = await replica.login(user.user.email)
    clock = Clock()
    clock.pass_s(24 * 3_600)
    async with open_replica(event_store[1], authority, clock) as tomorrow:
        assert await tomorrow.accounts.follower.until_caught_up(60)
        stream = await opened(tomorrow, text, kept=keeping(first))

        request = pb.LogoutRequest(refresh_token=elsewhere.refresh_token, everywhere=True)
        await replica.call("Logout", request)

        async def has_ended() -> bool:
            return tomorrow.accounts.is_revoked(stream.session_id)

        await eventually(has_ended)


async def test_a_stream_goes_on_with_the_role_of_now(replica: Replica) -> None:
    owner = await replica.owner()
    member = await replica.joined(owner, pb.ROLE_ADMIN)
    text = await ticket_of(replica, member)
    first = await opened(replica, text)

    request = pb.SetMemberRoleRequest(user_id=member.user.user_id, role=pb.ROLE_VIEWER)
    await replica.call("SetMemberRole", request, owner.access_token)
    later = await opened(replica, text, kept=keeping(first))

    roles = [replica.verifier.verify(stream.token).role for stream in (first, later)]
    assert roles == ["admin", "viewer"]


async def test_a_key_gets_no_ticket(replica: Replica) -> None:
    owner = await replica.owner()
    request = pb.CreateKeyRequest(name="machine", scopes=["events.read"])
    key = await replica.call("CreateKey", request, owner.access_token)
    token = await replica.accounts.token_of_key(key.secret)

    with pytest.raises(NotAUser):
        await replica.call("CreateStreamTicket", pb.CreateStreamTicketRequest(url=URL), token)


@pytest.mark.parametrize(
    "url",
    ["", "/", "v1/events", "https://girih.dev/v1/events", "/v1/events#x", "/v1/ä", "/a b", "/a?"],
)
def test_what_is_no_path_and_query_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        validation.check(pb.CreateStreamTicketRequest(url=url))
