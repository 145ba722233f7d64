"""Tenants: who may change whom, and that there is always an owner."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.errors import (
    InvitationInvalid,
    InvitationNotFound,
    KeyNotFound,
    LastOwner,
    MemberNotFound,
    RoleTooLow,
    TooManyInvitations,
    TooManyKeys,
)
from gateway.accounts.policy.plans import PLANS
from gateway.accounts.policy.roles import KEY_SCOPES, SCOPES, Role
from gateway.accounts.state import tenants
from gateway.accounts.state.events import (
    AccountRecord,
    DamagedRecord,
    Event,
    KeyCreated,
    KeyRevoked,
    MemberJoined,
    PlanSet,
    TenantCreated,
)
from gateway.accounts.state.tenants import Invitation, Key, Tenant, tenant_after
from services.plumbing.identity import ScopeMissing
from services.policy import PlanLimits

ROLES = list(Role)
A_DAY_MS = 24 * 3_600 * 1_000


def joined(user_id: str, role: Role) -> MemberJoined:
    return MemberJoined(
        user_id=user_id,
        email=f"{user_id}@girih.dev",
        name=user_id,
        registered_at_ms=0,
        role=role.word,
        at_ms=1,
    )


def after(tenant: Tenant | None, history: Iterable[Event]) -> Tenant:
    since = tenant.revision + 1 if tenant else 0
    records = [AccountRecord(n + 1, "s", n, one) for n, one in enumerate(history, since)]
    result = tenant_after(tenant, records)
    assert result is not None
    return result


def tenant_of(**roles: Role) -> Tenant:
    created = TenantCreated(tenant_id="t", name="Knots", at_ms=0)
    return after(None, [created, *(joined(*pair) for pair in roles.items())])


def invitation(role: Role = Role.MEMBER, number: int = 0, *, by: str = "me") -> Invitation:
    return Invitation(
        invitation_id=f"i{number}",
        email=f"new{number}@girih.dev",
        role=role,
        created_at_ms=0,
        expires_at_ms=A_DAY_MS,
        created_by=by,
        token_hash="hashed",
    )


def key(number: int = 0, scopes: tuple[str, ...] = ("events.read",)) -> Key:
    return Key(
        key_id=f"k{number}",
        name="importer",
        scopes=scopes,
        created_at_ms=0,
        expires_at_ms=0,
        created_by="me",
        secret_hash="hashed",
    )


@pytest.mark.parametrize(("mine", "theirs", "new"), list(product(ROLES, ROLES, ROLES)), ids=str)
def test_admins_manage_and_only_owners_touch_owners(mine: Role, theirs: Role, new: Role) -> None:
    tenant = tenant_of(me=mine, them=theirs, other=Role.OWNER)
    needed = Role.OWNER if Role.OWNER in (theirs, new) else Role.ADMIN

    if mine < needed:
        with pytest.raises(RoleTooLow):
            tenants.set_role(tenant, "them", new, by="me", at_ms=2)
    else:
        role_set = tenants.set_role(tenant, "them", new, by="me", at_ms=2)
        assert (role_set is None) == (theirs == new)


@pytest.mark.parametrize(("mine", "theirs"), list(product(ROLES, ROLES)), ids=str)
def test_members_are_removed_by_admins_and_owners_by_owners(mine: Role, theirs: Role) -> None:
    tenant = tenant_of(me=mine, them=theirs, other=Role.OWNER)

    if mine < (Role.OWNER if theirs == Role.OWNER else Role.ADMIN):
        with pytest.raises(RoleTooLow):
            tenants.remove_member(tenant, "them", by="me", at_ms=2)
    else:
        removed = tenants.remove_member(tenant, "them", by="me", at_ms=2)
        assert "them" not in after(tenant, [removed]).members


@pytest.mark.parametrize(("mine", "theirs"), list(product(ROLES, ROLES)), ids=str)
def test_nobody_invites_above_their_rank(mine: Role, theirs: Role) -> None:
    tenant = tenant_of(me=mine, other=Role.OWNER)

    if mine < (Role.OWNER if theirs == Role.OWNER else Role.ADMIN):
        with pytest.raises(RoleTooLow):
            tenants.invite(tenant, invitation(theirs), at_ms=2)
    else:
        created = tenants.invite(tenant, invitation(theirs), at_ms=2)
        assert after(tenant, [created]).invitations["i0"].role == theirs


def test_strangers_and_former_members_manage_nothing() -> None:
    tenant = tenant_of(me=Role.OWNER, them=Role.ADMIN)
    removed = tenants.remove_member(tenant, "them", by="me", at_ms=2)
    tenant = after(tenant, [removed])

    for by in ("them", "nobody", ""):
        with pytest.raises(RoleTooLow):
            tenants.set_role(tenant, "me", Role.OWNER, by=by, at_ms=3)


def test_the_last_owner_can_neither_go_nor_be_made_less() -> None:
    tenant = tenant_of(me=Role.OWNER, them=Role.ADMIN)

    with pytest.raises(LastOwner):
        tenants.remove_member(tenant, "me", by="me", at_ms=2)
    with pytest.raises(LastOwner):
        tenants.set_role(tenant, "me", Role.ADMIN, by="me", at_ms=2)


def test_who_is_not_there_cannot_be_changed() -> None:
    with pytest.raises(MemberNotFound):
        tenants.set_role(tenant_of(me=Role.OWNER), "them", Role.ADMIN, by="me", at_ms=2)


_acts = st.lists(
    st.tuples(
        st.sampled_from(["set", "remove", "join"]),
        st.sampled_from("abcd"),
        st.sampled_from("abcd"),
        st.sampled_from(ROLES),
    ),
    max_size=40,
)


@given(_acts)
def test_whatever_members_do_there_is_an_owner(acts: list[tuple[str, str, str, Role]]) -> None:
    tenant = tenant_of(a=Role.OWNER)

    for act, by, whom, role in acts:
        event = _tried(tenant, act, by, whom, role)
        if event is not None:
            tenant = after(tenant, [event])
        assert any(one.role == Role.OWNER for one in tenant.members.values())


@given(_acts, st.integers(0, 40))
def test_a_tenant_is_the_same_however_its_records_are_read(
    acts: list[tuple[str, str, str, Role]], cut: int
) -> None:
    history: list[Event] = [TenantCreated(tenant_id="t", name="Knots", at_ms=0)]
    history.append(joined("a", Role.OWNER))
    tenant = after(None, history)
    for act, by, whom, role in acts:
        event = _tried(tenant, act, by, whom, role)
        if event is not None:
            tenant = after(tenant, [event])
            history.append(event)

    cut = min(max(cut, 1), len(history))

    assert after(None, history) == tenant
    assert after(after(None, history[:cut]), history[cut:]) == tenant


def test_an_invitation_is_for_whoever_has_its_token() -> None:
    tenant = _inviting(invitation())

    assert tenants.open_invitation(tenant, "i0", "hashed", 5).email == "new0@girih.dev"
    for wrong in (("i0", "other", 5), ("i1", "hashed", 5), ("i0", "hashed", A_DAY_MS)):
        with pytest.raises(InvitationInvalid):
            tenants.open_invitation(tenant, *wrong)
    with pytest.raises(InvitationInvalid):
        tenants.open_invitation(None, "i0", "hashed", 5)


def test_whoever_joins_needs_no_other_invitation() -> None:
    twice = [invitation(), replace(invitation(Role.ADMIN), invitation_id="i1")]
    tenant = _inviting(*twice)
    joining = replace(joined("new0", Role.MEMBER), email="NEW0@girih.dev")

    tenant = after(tenant, tenants.accept(twice[0], joining))

    assert not tenant.invitations
    assert tenant.members["new0"].role == Role.MEMBER


def test_an_expired_invitation_is_neither_listed_nor_revoked() -> None:
    tenant = _inviting(invitation())

    assert tenant.open_invitations(A_DAY_MS - 1)
    assert not tenant.open_invitations(A_DAY_MS)
    with pytest.raises(InvitationNotFound):
        tenants.revoke_invitation(tenant, "i0", by="me", at_ms=A_DAY_MS)


def test_admins_do_not_revoke_what_owners_offered_owners() -> None:
    tenant = after(_inviting(invitation(Role.OWNER)), [joined("them", Role.ADMIN)])

    with pytest.raises(RoleTooLow):
        tenants.revoke_invitation(tenant, "i0", by="them", at_ms=2)


def test_invitations_go_with_whoever_made_them() -> None:
    tenant = tenant_of(me=Role.OWNER, them=Role.ADMIN)
    for number, by in enumerate(("me", "them")):
        tenant = after(tenant, [tenants.invite(tenant, invitation(number=number, by=by), at_ms=2)])

    tenant = after(tenant, [tenants.remove_member(tenant, "them", by="me", at_ms=3)])

    assert list(tenant.invitations) == ["i0"]


def test_an_invitation_is_worth_no_more_than_the_role_of_who_made_it() -> None:
    tenant = tenant_of(me=Role.OWNER, them=Role.OWNER)
    for number, role in enumerate((Role.OWNER, Role.ADMIN)):
        made = tenants.invite(tenant, invitation(role, number, by="them"), at_ms=2)
        tenant = after(tenant, [made])

    as_admin = after(tenant, [_demoted(tenant, Role.ADMIN)])
    as_member = after(tenant, [_demoted(tenant, Role.MEMBER)])

    assert list(as_admin.invitations) == ["i1"]
    assert not as_member.invitations


def test_open_invitations_are_bounded() -> None:
    many = [invitation(number=number) for number in range(tenants.INVITATION_COUNT_MAX)]
    tenant = _inviting(*many)

    with pytest.raises(TooManyInvitations):
        tenants.invite(tenant, invitation(number=5_000), at_ms=2)
    tenants.invite(tenant, invitation(number=5_000), at_ms=A_DAY_MS)


def test_keys_are_bounded_and_revoked_once() -> None:
    tenant = tenant_of(me=Role.OWNER)
    for number in range(tenants.KEY_COUNT_MAX):
        tenant = after(tenant, _made(tenant, key(number)))

    with pytest.raises(TooManyKeys):
        _made(tenant, key(5_000))
    tenant = after(tenant, [tenants.revoke_key(tenant, "k0", by="me", at_ms=2)])
    with pytest.raises(KeyNotFound):
        tenants.revoke_key(tenant, "k0", by="me", at_ms=3)
    _made(tenant, key(5_000))


def test_a_request_that_is_repeated_needs_room_for_no_other_key() -> None:
    first, again = (replace(key(number), request_id="r") for number in (0, 1))
    tenant = tenant_of(me=Role.ADMIN)
    tenant = after(tenant, _made(tenant, first))
    for number in range(2, tenants.KEY_COUNT_MAX + 1):
        tenant = after(tenant, _made(tenant, key(number)))

    tenant = after(tenant, _made(tenant, again))

    assert len(tenant.keys) == tenants.KEY_COUNT_MAX
    assert "k0" not in tenant.keys
    assert "k1" in tenant.keys


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
def test_keys_are_made_by_admins(role: Role) -> None:
    with pytest.raises(RoleTooLow):
        _made(tenant_of(me=role, other=Role.OWNER), key())


def test_a_key_allows_no_more_than_its_maker_may_do_now() -> None:
    tenant = tenant_of(me=Role.ADMIN)
    narrow = frozenset({"keys.write", "events.read"})

    with pytest.raises(ScopeMissing):
        tenants.create_key(tenant, key(scopes=("events.append",)), caller_scopes=narrow, at_ms=2)
    with pytest.raises(ScopeMissing):
        _made(tenant, key(scopes=("plans.write",)))


def test_roles_build_on_one_another_and_keys_reach_no_accounts() -> None:
    assert SCOPES[Role.VIEWER] < SCOPES[Role.MEMBER] < SCOPES[Role.ADMIN]
    assert SCOPES[Role.ADMIN] == SCOPES[Role.OWNER]
    assert not {"members.write", "keys.read", "keys.write", "plans.write"} & KEY_SCOPES
    assert "plans.write" not in SCOPES[Role.OWNER]


def test_plans_with_a_name_are_looked_up_and_others_are_as_they_were_set() -> None:
    tenant = tenant_of(me=Role.OWNER)

    numbers = PlanLimits("custom", 7, 6, 5, 4).numbers()
    named = after(tenant, [PlanSet(name="professional", at_ms=2)])
    custom = after(tenant, [PlanSet(name="custom", limits=numbers, at_ms=2)])

    assert tenant.plan == PLANS["free"]
    assert named.plan == PLANS["professional"]
    assert (custom.plan.name, custom.plan.numbers()) == ("custom", numbers)


def test_what_begins_without_a_creation_is_no_tenant() -> None:
    with pytest.raises(DamagedRecord):
        after(None, [joined("me", Role.OWNER)])


def _tried(tenant: Tenant, act: str, by: str, whom: str, role: Role) -> Event | None:
    try:
        if act == "set":
            return tenants.set_role(tenant, whom, role, by=by, at_ms=2)
        if act == "remove":
            return tenants.remove_member(tenant, whom, by=by, at_ms=2)
    except (RoleTooLow, LastOwner, MemberNotFound):
        return None
    return None if whom in tenant.members else joined(whom, role)


def _demoted(tenant: Tenant, role: Role) -> Event:
    role_set = tenants.set_role(tenant, "them", role, by="me", at_ms=3)
    assert role_set is not None
    return role_set


def _inviting(*invitations: Invitation) -> Tenant:
    tenant = tenant_of(me=Role.OWNER)
    return after(tenant, [tenants.invite(tenant, one, at_ms=2) for one in invitations])


def _made(tenant: Tenant, made: Key) -> list[KeyRevoked | KeyCreated]:
    scopes = SCOPES[Role.OWNER] | {"plans.write"}
    return tenants.create_key(tenant, made, caller_scopes=scopes, at_ms=2)
