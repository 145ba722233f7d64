"""Everything that people do with accounts, on a real event store."""

from dataclasses import replace

import grpc.aio
import pytest
from google.protobuf.message_factory import GetMessageClass

from gateway.accounts import errors
from gateway.admission.throttle import LoginThrottled
from girih.accounts.v1 import accounts_pb2 as pb
from girih.rules import checking
from services.plumbing.errors import InvalidInput
from services.plumbing.grpc.contract import scope_of
from services.plumbing.identity import ScopeMissing, TokenRequired
from services.policy import PlanLimits
from tests.authority import Authority
from tests.events.serving import eventually
from tests.gateway.accounts.replicas import (
    PASSWORD,
    SERVICE,
    Replica,
    fresh_email,
    open_replica,
    security_events,
)
from tests.processes import Process


async def test_whoever_registers_in_development_owns_a_tenant_without_limits(
    replica: Replica,
) -> None:
    email = fresh_email()

    registered = await replica.register(email, name="Ada", tenant_name="Knots")

    assert registered.user.email == email
    assert registered.tenant.name == "Knots"
    assert registered.tenant.plan.name == "unlimited"
    assert (await replica.login(email)).role == pb.ROLE_OWNER


async def test_whoever_registers_elsewhere_is_on_the_default_plan_until_put_on_another(
    event_store: tuple[Process, str], authority: Authority
) -> None:
    async with open_replica(event_store[1], authority, DEFAULT_PLAN="free") as replica:
        registered = await replica.register()
        login = await replica.login(registered.user.email)

    plan = replica.verifier.verify(login.access_token).plan
    assert isinstance(plan, PlanLimits)
    assert registered.tenant.plan.name == login.tenant.plan.name == plan.name == "free"


async def test_a_tenant_without_a_name_is_named_after_its_user(replica: Replica) -> None:
    assert (await replica.register(name="Ada")).tenant.name == "Ada"


async def test_an_address_registers_once_however_it_is_written(replica: Replica) -> None:
    email = fresh_email()
    await replica.register(email)

    with pytest.raises(errors.EmailTaken):
        await replica.register(email.upper())


async def test_the_smoke_test_of_other_clients_works_in_development(replica: Replica) -> None:
    email = fresh_email()

    await replica.register(email, password="test123", name="Test User")

    assert (await replica.login(email, password="test123")).token_type == "Bearer"


async def test_all_that_is_wrong_with_a_registration_is_told_at_once(replica: Replica) -> None:
    with pytest.raises(InvalidInput) as refused:
        await replica.register("nobody", password="short", name="", tenant_name="a\nb")

    fields = {violation.field for violation in refused.value.violations}
    assert fields == {"email", "password", "name", "tenant_name"}


async def test_login_is_the_same_for_all_ways_to_write_an_address(replica: Replica) -> None:
    email = fresh_email()
    await replica.register(email)

    assert (await replica.login(email.upper())).user.email == email


async def test_a_wrong_password_and_an_unknown_address_are_told_alike(replica: Replica) -> None:
    registered = await replica.register()

    with pytest.raises(errors.CredentialsInvalid) as wrong:
        await replica.login(registered.user.email, password="not this one")
    with pytest.raises(errors.CredentialsInvalid) as unknown:
        await replica.login(fresh_email())

    assert wrong.value.args == unknown.value.args
    assert wrong.value.metadata == unknown.value.metadata


async def test_nobody_logs_in_to_a_tenant_they_are_not_in(replica: Replica) -> None:
    one, other = await replica.register(), await replica.register()

    with pytest.raises(errors.CredentialsInvalid):
        await replica.login(one.user.email, tenant_id=other.tenant.tenant_id)


async def test_guessing_is_throttled(replica: Replica) -> None:
    registered = await replica.register()

    for _ in range(5):
        with pytest.raises(errors.CredentialsInvalid):
            await replica.login(registered.user.email, password="not this one")

    with pytest.raises(LoginThrottled):
        await replica.login(registered.user.email, password="not this one")


async def test_the_caller_is_told_who_they_are(replica: Replica) -> None:
    owner = await replica.owner()

    answer = await replica.call("WhoAmI", pb.WhoAmIRequest(), owner.access_token)

    assert answer.user == owner.user
    assert answer.tenant == owner.tenant
    assert answer.role == pb.ROLE_OWNER
    assert "members.write" in answer.scopes


async def test_those_invited_join_with_the_role_they_were_invited_as(replica: Replica) -> None:
    owner = await replica.owner()

    joined = await replica.joined(owner, pb.ROLE_VIEWER)

    assert joined.tenant.tenant_id == owner.tenant.tenant_id
    assert joined.role == pb.ROLE_VIEWER
    members = await replica.call("ListMembers", pb.ListMembersRequest(), joined.access_token)
    assert [one.role for one in members.members] == [pb.ROLE_OWNER, pb.ROLE_VIEWER]


async def test_an_invitation_works_once(replica: Replica) -> None:
    owner = await replica.owner()
    invited = await replica.invite(owner, fresh_email(), pb.ROLE_MEMBER)
    request = pb.AcceptInvitationRequest(token=invited.token, password=PASSWORD, name="Omar")
    await replica.call("AcceptInvitation", request)

    with pytest.raises(errors.InvitationInvalid):
        await replica.call("AcceptInvitation", request)


async def test_an_invitation_ends_after_seven_days(replica: Replica) -> None:
    owner = await replica.owner()
    invited = await replica.invite(owner, fresh_email(), pb.ROLE_MEMBER)
    replica.clock.pass_s(7 * 24 * 3_600)

    request = pb.AcceptInvitationRequest(token=invited.token, password=PASSWORD, name="Omar")
    with pytest.raises(errors.InvitationInvalid):
        await replica.call("AcceptInvitation", request)


async def test_a_revoked_invitation_lets_nobody_in(replica: Replica) -> None:
    owner = await replica.owner()
    invited = await replica.invite(owner, fresh_email(), pb.ROLE_MEMBER)
    revoke = pb.RevokeInvitationRequest(invitation_id=invited.invitation.invitation_id)
    await replica.call("RevokeInvitation", revoke, owner.access_token)

    request = pb.AcceptInvitationRequest(token=invited.token, password=PASSWORD, name="Omar")
    with pytest.raises(errors.InvitationInvalid):
        await replica.call("AcceptInvitation", request)
    left = await replica.call("ListInvitations", pb.ListInvitationsRequest(), owner.access_token)
    assert not left.invitations


async def test_an_invitation_that_is_refused_is_told_in_our_own_log(
    replica: Replica, capsys: pytest.CaptureFixture[str]
) -> None:
    request = pb.AcceptInvitationRequest(token="girihinv_guessed", password=PASSWORD, name="Eve")

    with pytest.raises(errors.InvitationInvalid):
        await replica.call("AcceptInvitation", request)

    response = capsys.readouterr().out
    assert "invitation-refused" in response
    assert "guessed" not in response


async def test_a_user_who_is_invited_joins_with_the_password_they_have(replica: Replica) -> None:
    owner, guest = await replica.owner(), await replica.owner()
    invited = await replica.invite(owner, guest.user.email, pb.ROLE_MEMBER)
    request = pb.AcceptInvitationRequest(token=invited.token, password="not this one")

    with pytest.raises(errors.CredentialsInvalid):
        await replica.call("AcceptInvitation", request)
    request.password = PASSWORD
    joined = await replica.call("AcceptInvitation", request)

    assert joined.user == guest.user
    again = await replica.login(guest.user.email, tenant_id=owner.tenant.tenant_id)
    assert again.role == pb.ROLE_MEMBER
    assert (await replica.login(guest.user.email)).tenant == guest.tenant


async def test_a_member_cannot_be_invited(replica: Replica) -> None:
    owner = await replica.owner()
    joined = await replica.joined(owner, pb.ROLE_VIEWER)

    with pytest.raises(errors.AlreadyAMember):
        await replica.invite(owner, joined.user.email.upper(), pb.ROLE_MEMBER)


async def test_members_are_listed_in_pages(replica: Replica) -> None:
    owner = await replica.owner()
    for _ in range(3):
        await replica.joined(owner, pb.ROLE_VIEWER)

    seen, token = [], ""
    while True:
        request = pb.ListMembersRequest(page_size=2, page_token=token)
        page = await replica.call("ListMembers", request, owner.access_token)
        seen += [one.user.user_id for one in page.members]
        token = page.next_page_token
        if not token:
            break

    assert len(seen) == len(set(seen)) == 4
    assert seen[0] == owner.user.user_id


async def test_another_role_counts_from_the_next_refresh_on(replica: Replica) -> None:
    owner = await replica.owner()
    member = await replica.joined(owner, pb.ROLE_VIEWER)
    request = pb.SetMemberRoleRequest(user_id=member.user.user_id, role=pb.ROLE_ADMIN)
    changed = await replica.call("SetMemberRole", request, owner.access_token)

    with pytest.raises(ScopeMissing):
        await replica.call("ListKeys", pb.ListKeysRequest(), member.access_token)
    tokens = await replica.refresh(member.refresh_token)

    assert changed.member.role == pb.ROLE_ADMIN
    await replica.call("ListKeys", pb.ListKeysRequest(), tokens.access_token)


async def test_who_is_no_admin_any_more_manages_nothing_with_an_old_token(
    replica: Replica,
) -> None:
    owner = await replica.owner()
    admin = await replica.joined(owner, pb.ROLE_ADMIN)
    request = pb.SetMemberRoleRequest(user_id=admin.user.user_id, role=pb.ROLE_VIEWER)
    await replica.call("SetMemberRole", request, owner.access_token)

    with pytest.raises(errors.RoleTooLow):
        await replica.invite(admin, fresh_email(), pb.ROLE_VIEWER)
    key = pb.CreateKeyRequest(name="importer", scopes=["events.read"])
    with pytest.raises(errors.RoleTooLow):
        await replica.call("CreateKey", key, admin.access_token)


async def test_a_key_calls_with_the_scopes_it_was_given(replica: Replica) -> None:
    owner = await replica.owner()
    create = pb.CreateKeyRequest(name="importer", scopes=["events.read", "events.append"])

    made = await replica.call("CreateKey", create, owner.access_token)
    answer = await replica.call("ExchangeKey", pb.ExchangeKeyRequest(key=made.secret))
    who = await replica.call("WhoAmI", pb.WhoAmIRequest(), answer.access_token)

    assert who.key.key_id == made.key.key_id
    assert who.scopes == ["events.append", "events.read"]
    assert not who.HasField("user")
    with pytest.raises(errors.NotAUser):
        await replica.call("ChangePassword", pb.ChangePasswordRequest(), answer.access_token)


async def test_a_key_asked_for_once_more_takes_the_place_of_the_first(replica: Replica) -> None:
    owner = await replica.owner()
    request_id = "0198c2f0-1111-7111-8111-111111111111"
    create = pb.CreateKeyRequest(
        name="importer", scopes=["events.read"], request_id=request_id.upper()
    )
    first = await replica.call("CreateKey", create, owner.access_token)
    other = pb.CreateKeyRequest(name="mailer", scopes=["events.read"])
    await replica.call("CreateKey", other, owner.access_token)

    create.request_id = request_id
    second = await replica.call("CreateKey", create, owner.access_token)

    listed = await replica.call("ListKeys", pb.ListKeysRequest(), owner.access_token)
    assert [one.name for one in listed.keys] == ["mailer", "importer"]
    assert listed.keys[1].key_id == second.key.key_id
    await replica.call("ExchangeKey", pb.ExchangeKeyRequest(key=second.secret))
    with pytest.raises(errors.KeyInvalid):
        await replica.call("ExchangeKey", pb.ExchangeKeyRequest(key=first.secret))


async def test_a_key_is_replaced_by_nobody_who_has_not_made_it(replica: Replica) -> None:
    owner = await replica.owner()
    admin = await replica.joined(owner, pb.ROLE_ADMIN)
    create = pb.CreateKeyRequest(
        name="importer",
        scopes=["events.read"],
        request_id="0198c2f0-1111-7111-8111-111111111111",
    )

    first = await replica.call("CreateKey", create, owner.access_token)
    await replica.call("CreateKey", create, admin.access_token)

    await replica.call("ExchangeKey", pb.ExchangeKeyRequest(key=first.secret))


async def test_a_key_may_not_do_what_its_maker_may_not(replica: Replica) -> None:
    owner = await replica.owner()
    request = pb.CreateKeyRequest(name="importer", scopes=["members.write"])

    with pytest.raises(InvalidInput):
        await replica.call("CreateKey", request, owner.access_token)


async def test_a_key_ends_when_it_was_made_to(replica: Replica) -> None:
    owner = await replica.owner()
    create = pb.CreateKeyRequest(name="importer", scopes=["events.read"], expires_in_days=1)
    made = await replica.call("CreateKey", create, owner.access_token)
    replica.clock.pass_s(24 * 3_600)

    with pytest.raises(errors.KeyInvalid):
        await replica.call("ExchangeKey", pb.ExchangeKeyRequest(key=made.secret))


async def test_a_revoked_key_ends_at_once(replica: Replica) -> None:
    owner = await replica.owner()
    create = pb.CreateKeyRequest(name="importer", scopes=["events.read"])
    made = await replica.call("CreateKey", create, owner.access_token)
    await replica.call("ExchangeKey", pb.ExchangeKeyRequest(key=made.secret))

    revoke = pb.RevokeKeyRequest(key_id=made.key.key_id)
    await replica.call("RevokeKey", revoke, owner.access_token)

    with pytest.raises(errors.KeyInvalid):
        await replica.call("ExchangeKey", pb.ExchangeKeyRequest(key=made.secret))
    with pytest.raises(errors.KeyNotFound):
        await replica.call("RevokeKey", revoke, owner.access_token)


async def test_what_is_no_key_is_refused(replica: Replica) -> None:
    for text in ("", "girih_", "girih_" + "0" * 32, "a.b.c"):
        with pytest.raises(errors.KeyInvalid):
            await replica.call("ExchangeKey", pb.ExchangeKeyRequest(key=text))


async def test_a_plan_is_set_by_operators_alone(replica: Replica, authority: Authority) -> None:
    owner = await replica.owner()
    tenant_id = owner.tenant.tenant_id
    request = pb.SetPlanRequest(tenant_id=tenant_id, plan=pb.Plan(name="professional"))
    with pytest.raises(ScopeMissing):
        await replica.call("SetPlan", request, owner.access_token)

    operator = authority.service_token(
        "gateway.girih", "girih-accounts", ["plans.write"],
        service="gateway.girih", sub="gateway.girih",
    )  # fmt: skip
    changed = await replica.call("SetPlan", request, operator)

    assert changed.tenant.plan.lattice_count_max == 500
    tokens = await replica.refresh(owner.refresh_token)
    plan = replica.verifier.verify(tokens.access_token).plan
    assert plan is not None
    assert plan.name == "professional"


async def test_administrative_acts_are_told_in_the_tenants_log(
    replica: Replica, events_channel: grpc.aio.Channel, authority: Authority
) -> None:
    owner = await replica.owner()
    await replica.joined(owner, pb.ROLE_VIEWER)

    async def is_recorded() -> bool:
        response = await security_events(events_channel, authority, owner.tenant.tenant_id)
        assert PASSWORD not in str(response)
        return {"registered", "login-succeeded", "invitation-created"} <= {
            kind for kind, _ in response
        }

    await eventually(is_recorded)


async def test_calls_without_a_token_reach_nothing_that_needs_one(replica: Replica) -> None:
    with pytest.raises(TokenRequired):
        await replica.accounts.servicer.WhoAmI(pb.WhoAmIRequest())


RULED = [
    method.name
    for method in SERVICE.methods
    if not checking.check_of(method.input_type).holds(GetMessageClass(method.input_type)())
]


@pytest.mark.parametrize("rpc", RULED)
async def test_what_the_contract_does_not_allow_is_refused(rpc: str, replica: Replica) -> None:
    assert len(RULED) == 14
    owner = replica.verifier.verify((await replica.owner()).access_token)
    principal = replace(owner, scopes=frozenset({scope_of(SERVICE.methods_by_name[rpc])}))
    request = GetMessageClass(SERVICE.methods_by_name[rpc].input_type)()

    with pytest.raises(InvalidInput):
        await replica.call_as(principal, rpc, request)
