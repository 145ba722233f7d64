"""Sessions: refreshed, repeated, stolen, ended, raced for, and on two replicas at once."""

import asyncio

import grpc.aio
import pytest

from gateway.accounts.errors import CredentialsInvalid, EmailTaken, LastOwner, RefreshTokenInvalid
from girih.accounts.v1 import accounts_pb2 as pb
from services.plumbing.auth.tokens import TokenInvalid
from services.plumbing.errors import InvalidInput
from tests.authority import Authority
from tests.events.serving import eventually
from tests.gateway.accounts.replicas import PASSWORD, Replica, fresh_email, security_events


async def test_a_refresh_token_is_traded_for_the_next_pair(replica: Replica) -> None:
    owner = await replica.owner()

    first = await replica.refresh(owner.refresh_token)
    second = await replica.refresh(first.refresh_token)

    assert len({owner.refresh_token, first.refresh_token, second.refresh_token}) == 3
    answer = await replica.call("WhoAmI", pb.WhoAmIRequest(), second.access_token)
    assert answer.user == owner.user


async def test_a_lost_answer_is_given_again_on_every_replica(
    replica: Replica, other_replica: Replica
) -> None:
    owner = await replica.owner()
    first = await replica.refresh(owner.refresh_token)
    other_replica.clock.pass_s(9)

    again = await other_replica.refresh(owner.refresh_token)

    assert again.refresh_token == first.refresh_token
    await replica.refresh(again.refresh_token)


async def test_a_token_that_comes_back_later_ends_its_session(
    replica: Replica, events_channel: grpc.aio.Channel, authority: Authority
) -> None:
    owner = await replica.owner()
    first = await replica.refresh(owner.refresh_token)
    replica.clock.pass_s(10.5)

    with pytest.raises(RefreshTokenInvalid):
        await replica.refresh(owner.refresh_token)
    with pytest.raises(RefreshTokenInvalid):
        await replica.refresh(first.refresh_token)
    with pytest.raises(TokenInvalid):
        await replica.call("WhoAmI", pb.WhoAmIRequest(), first.access_token)

    async def is_recorded() -> bool:
        response = await security_events(events_channel, authority, owner.tenant.tenant_id)
        return "refresh-reused" in {kind for kind, _ in response}

    await eventually(is_recorded)


async def test_a_token_used_before_the_last_ends_its_session_however_soon(
    replica: Replica,
) -> None:
    owner = await replica.owner()
    first = await replica.refresh(owner.refresh_token)
    second = await replica.refresh(first.refresh_token)

    with pytest.raises(RefreshTokenInvalid):
        await replica.refresh(owner.refresh_token)

    with pytest.raises(RefreshTokenInvalid):
        await replica.refresh(second.refresh_token)


async def test_a_made_up_token_does_not_end_the_session_it_names(replica: Replica) -> None:
    owner = await replica.owner()
    family, _, _ = owner.refresh_token.partition(".")

    with pytest.raises(RefreshTokenInvalid):
        await replica.refresh(f"{family}.{'A' * 43}")

    await replica.refresh(owner.refresh_token)


@pytest.mark.parametrize("text", ["", ".", "a.b", "0" * 32, f"{'0' * 32}.{'A' * 43}", "é" * 76])
async def test_what_is_no_refresh_token_is_refused(replica: Replica, text: str) -> None:
    with pytest.raises(RefreshTokenInvalid):
        await replica.refresh(text)


async def test_access_tokens_do_not_refresh_and_refresh_tokens_do_not_call(
    replica: Replica,
) -> None:
    owner = await replica.owner()

    with pytest.raises(RefreshTokenInvalid):
        await replica.refresh(owner.access_token)
    with pytest.raises(TokenInvalid):
        await replica.call("WhoAmI", pb.WhoAmIRequest(), owner.refresh_token)


async def test_a_session_ends_when_it_was_idle_for_too_long(replica: Replica) -> None:
    owner = await replica.owner()
    replica.clock.pass_s(14 * 24 * 3_600 + 1)

    with pytest.raises(RefreshTokenInvalid):
        await replica.refresh(owner.refresh_token)


async def test_a_session_ends_after_its_time_however_busy(replica: Replica) -> None:
    token = (await replica.owner()).refresh_token
    for _ in range(9):
        replica.clock.pass_s(10 * 24 * 3_600 - 1)
        token = (await replica.refresh(token)).refresh_token
    replica.clock.pass_s(60)

    with pytest.raises(RefreshTokenInvalid):
        await replica.refresh(token)


async def test_a_hundred_refreshes_at_once_give_one_successor(
    replica: Replica, other_replica: Replica
) -> None:
    owner = await replica.owner()
    both = [replica, other_replica]

    answers = await asyncio.gather(
        *(both[number % 2].refresh(owner.refresh_token) for number in range(100))
    )

    assert len({one.refresh_token for one in answers}) == 1
    session_id = replica.verifier.verify(owner.access_token).session
    session = await replica.accounts.servicer._store.session(session_id)
    assert session is not None
    assert session.revision == 1, "one rotation was recorded, and no other"
    await other_replica.refresh(answers[0].refresh_token)


async def test_logout_ends_the_session_at_once_on_every_replica(
    replica: Replica, other_replica: Replica
) -> None:
    owner = await replica.owner()
    await other_replica.call("WhoAmI", pb.WhoAmIRequest(), owner.access_token)

    await replica.call("Logout", pb.LogoutRequest(refresh_token=owner.refresh_token))

    with pytest.raises(TokenInvalid):
        await replica.call("WhoAmI", pb.WhoAmIRequest(), owner.access_token)
    with pytest.raises(RefreshTokenInvalid):
        await replica.refresh(owner.refresh_token)
    await eventually(lambda: _is_refused(other_replica, owner.access_token), within_s=2)


async def test_logout_of_what_is_no_session_is_answered_like_any(replica: Replica) -> None:
    for text in ("a.b", f"{'0' * 32}.{'A' * 43}"):
        await replica.call("Logout", pb.LogoutRequest(refresh_token=text))


async def test_logout_without_a_token_does_not_pretend(replica: Replica) -> None:
    with pytest.raises(InvalidInput, match="refresh_token"):
        await replica.call("Logout", pb.LogoutRequest())


async def test_logout_everywhere_ends_all_sessions_and_no_later_one(
    replica: Replica, other_replica: Replica
) -> None:
    owner = await replica.owner()
    elsewhere = await other_replica.login(owner.user.email)

    request = pb.LogoutRequest(refresh_token=owner.refresh_token, everywhere=True)
    await replica.call("Logout", request)
    later = await other_replica.login(owner.user.email)

    with pytest.raises(RefreshTokenInvalid):
        await other_replica.refresh(elsewhere.refresh_token)
    await eventually(lambda: _is_refused(other_replica, elsewhere.access_token), within_s=2)
    assert not await _is_refused(replica, later.access_token)
    assert not await _is_refused(other_replica, later.access_token)
    await replica.refresh(later.refresh_token)


async def test_another_password_ends_all_other_sessions(replica: Replica) -> None:
    owner = await replica.owner()
    elsewhere = await replica.login(owner.user.email)

    await replica.call(
        "ChangePassword",
        pb.ChangePasswordRequest(
            password=PASSWORD, new_password="a knot of stars", refresh_token=owner.refresh_token
        ),
        owner.access_token,
    )

    assert await _is_refused(replica, elsewhere.access_token)
    with pytest.raises(RefreshTokenInvalid):
        await replica.refresh(elsewhere.refresh_token)
    await replica.refresh(owner.refresh_token)
    with pytest.raises(CredentialsInvalid):
        await replica.login(owner.user.email)
    await replica.login(owner.user.email, password="a knot of stars")


async def test_a_password_is_changed_by_whoever_knows_it_alone(replica: Replica) -> None:
    owner = await replica.owner()
    request = pb.ChangePasswordRequest(password="not this one", new_password="a knot of stars")

    with pytest.raises(CredentialsInvalid):
        await replica.call("ChangePassword", request, owner.access_token)

    await replica.login(owner.user.email)


async def test_nobody_keeps_the_session_of_somebody_else(replica: Replica) -> None:
    owner, other = await replica.owner(), await replica.owner()
    request = pb.ChangePasswordRequest(
        password=PASSWORD, new_password="a knot of stars", refresh_token=other.refresh_token
    )

    with pytest.raises(RefreshTokenInvalid):
        await replica.call("ChangePassword", request, owner.access_token)

    await replica.login(owner.user.email)


async def test_who_is_removed_is_out_at_once_and_an_old_session_does_not_come_back(
    replica: Replica, other_replica: Replica
) -> None:
    owner = await replica.owner()
    member = await replica.joined(owner, pb.ROLE_MEMBER)

    request = pb.RemoveMemberRequest(user_id=member.user.user_id)
    await replica.call("RemoveMember", request, owner.access_token)

    assert await _is_refused(replica, member.access_token)
    await eventually(lambda: _is_refused(other_replica, member.access_token), within_s=2)
    invited = await replica.invite(owner, member.user.email, pb.ROLE_MEMBER)
    accept = pb.AcceptInvitationRequest(token=invited.token, password=PASSWORD)
    await replica.call("AcceptInvitation", accept)
    with pytest.raises(RefreshTokenInvalid):
        await replica.refresh(member.refresh_token)
    await replica.login(member.user.email)


async def test_twenty_registrations_of_one_address_make_one_user(
    replica: Replica, other_replica: Replica
) -> None:
    email, both = fresh_email(), [replica, other_replica]

    answers = await asyncio.gather(
        *(both[number % 2].register(email) for number in range(20)), return_exceptions=True
    )

    registered = [one for one in answers if isinstance(one, pb.RegisterResponse)]
    assert len(registered) == 1
    assert all(isinstance(one, EmailTaken) for one in answers if one is not registered[0])


async def test_two_owners_who_remove_each_other_leave_one(
    replica: Replica, other_replica: Replica
) -> None:
    for _ in range(10):
        one = await replica.owner()
        other = await replica.joined(one, pb.ROLE_OWNER)

        answers = await asyncio.gather(
            replica.call(
                "RemoveMember",
                pb.RemoveMemberRequest(user_id=other.user.user_id),
                one.access_token,
            ),
            other_replica.call(
                "RemoveMember",
                pb.RemoveMemberRequest(user_id=one.user.user_id),
                other.access_token,
            ),
            return_exceptions=True,
        )

        assert sum(isinstance(answer, pb.RemoveMemberResponse) for answer in answers) == 1


async def test_the_last_owner_stays_one(replica: Replica, other_replica: Replica) -> None:
    one = await replica.owner()
    other = await replica.joined(one, pb.ROLE_OWNER)

    answers = await asyncio.gather(
        *(
            at.call(
                "SetMemberRole",
                pb.SetMemberRoleRequest(user_id=who.user.user_id, role=pb.ROLE_VIEWER),
                who.access_token,
            )
            for at, who in ((replica, one), (other_replica, other))
        ),
        return_exceptions=True,
    )

    assert sum(isinstance(answer, pb.SetMemberRoleResponse) for answer in answers) == 1
    assert sum(isinstance(answer, LastOwner) for answer in answers) == 1


async def _is_refused(at: Replica, access_token: str) -> bool:
    try:
        await at.call("WhoAmI", pb.WhoAmIRequest(), access_token)
    except TokenInvalid:
        return True
    return False
