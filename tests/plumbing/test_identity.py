"""Who may do what."""

import pytest

from girih.ids import NO_TENANT, TenantId
from services.plumbing.identity import (
    OPS_READ,
    PUBLIC,
    SIGNED_IN,
    Principal,
    ScopeMissing,
    TenantRequired,
    TokenRequired,
    authorize,
)
from services.policy import SCOPES

READER = Principal(TenantId("acme"), "user:1", frozenset({"events.read"}), "gateway.girih")
NOBODYS = Principal(NO_TENANT, "gateway.girih", frozenset(SCOPES), "gateway.girih", "gateway.girih")


def test_anybody_may_call_what_is_public() -> None:
    authorize(None, PUBLIC)
    authorize(NOBODYS, PUBLIC)


@pytest.mark.parametrize("scope", [*sorted(SCOPES), SIGNED_IN, "", "no.such"])
def test_nobody_may_call_anything_else_without_a_token(scope: str) -> None:
    with pytest.raises(TokenRequired):
        authorize(None, scope)


@pytest.mark.parametrize("scope", [*sorted(SCOPES - {"events.read"}), "", "events", "no.such"])
def test_a_scope_allows_itself_and_nothing_else(scope: str) -> None:
    authorize(READER, "events.read")

    with pytest.raises(ScopeMissing) as caught:
        authorize(READER, scope)

    assert caught.value.metadata == {"scope": scope}


def test_any_token_will_do_for_those_who_are_signed_in() -> None:
    authorize(READER, SIGNED_IN)


@pytest.mark.parametrize("scope", [*sorted(SCOPES - {OPS_READ}), SIGNED_IN])
def test_a_token_for_nobodys_data_is_good_for_operators_only(scope: str) -> None:
    authorize(NOBODYS, OPS_READ)

    with pytest.raises(TenantRequired):
        authorize(NOBODYS, scope)
