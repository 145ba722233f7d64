"""Who makes the call being served, as its token proves."""

from dataclasses import dataclass

from gateway.accounts.errors import NotAUser
from services.plumbing import correlation
from services.plumbing.identity import Principal, TokenRequired

_USER = "user:"
_KEY = "key:"


@dataclass(frozen=True, slots=True)
class UserCaller:
    """A user, in the tenant of the token."""

    user_id: str
    tenant_id: str
    session_id: str
    scopes: frozenset[str]


def caller() -> Principal:
    """Raises TokenRequired."""
    principal = correlation.current().principal
    if principal is None:
        raise TokenRequired("the call needs a token")
    return principal


def user_caller() -> UserCaller:
    """Raises TokenRequired, and NotAUser for keys and services."""
    principal = caller()
    user_id = user_id_of(principal)
    if not user_id:
        raise NotAUser("only a user can do this")
    return UserCaller(user_id, principal.tenant, principal.session, principal.scopes)


def user_id_of(principal: Principal) -> str:
    """Empty for keys, and for services whoever they act for."""
    is_user = principal.subject.startswith(_USER) and not principal.service
    return principal.subject.removeprefix(_USER) if is_user else ""


def key_id_of(principal: Principal) -> str:
    """Empty for users and services."""
    is_key = principal.subject.startswith(_KEY) and not principal.service
    return principal.subject.removeprefix(_KEY) if is_key else ""


def user_subject(user_id: str) -> str:
    return _USER + user_id


def key_subject(key_id: str) -> str:
    return _KEY + key_id
