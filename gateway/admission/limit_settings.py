"""What the gateway is told about limits, and about whose word on addresses it takes."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from gateway.http.caller import ForwardedHeader, trusted_networks
from services.plumbing.settings import InDevelopment, ProcessSettings, refuse_placeholder

_CALLS_MAX = 1_000_000
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


def _redis_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(_REDIS_SCHEMES):
        raise _wrong(f"must begin with {', '.join(_REDIS_SCHEMES)}")
    return value


def _networks(text: str) -> str:
    try:
        trusted_networks(text)
    except ValueError as error:
        message = "must be networks such as 10.0.0.0/8, with commas between them"
        raise _wrong(message) from error
    return text


class LimitSettings(ProcessSettings):
    """Calls a minute, and where they are counted."""

    address_calls_per_minute: Annotated[int, InDevelopment(60_000)] = Field(
        default=3_000, ge=0, le=_CALLS_MAX
    )
    """The most requests a minute from one address, or from one /64 of IPv6; 0 means no limit.
    Counted before anything else is looked at."""
    user_calls_per_minute: int = Field(default=1_200, ge=0, le=_CALLS_MAX)
    """The most requests a minute of one user or API key; 0 means no limit."""
    tenant_calls_per_minute: int = Field(default=6_000, ge=0, le=_CALLS_MAX)
    """The most requests a minute of all users and keys of a tenant; 0 means no limit."""
    login_failure_count_max: int = Field(default=600, ge=0, le=_CALLS_MAX)
    """Failed logins of all accounts within ten minutes, beyond which only those are let try
    who come from an address that their account was used from before; 0 means no limit."""
    network_login_failure_count_max: Annotated[int, InDevelopment(10_000)] = Field(
        default=50, ge=1, le=_CALLS_MAX
    )
    """Failed logins within an hour from one address, or from one /64 of IPv6, for all accounts
    that were not used from there before. A login counts until its password was found right, so
    this also bounds how many log in from one address at once for the first time."""
    registration_count_max: Annotated[int, InDevelopment(100_000)] = Field(
        default=100, ge=0, le=_CALLS_MAX
    )
    """Users that register within an hour from one address, or from one /64 of IPv6; 0 means no
    limit. Each brings a tenant with what the plan of new tenants gives away."""
    redis_url: (
        Annotated[SecretStr, AfterValidator(refuse_placeholder), AfterValidator(_redis_url)] | None
    ) = None
    """A Redis in which all replicas count together, as redis://, rediss:// (TLS) or unix://.
    Unset means that each replica counts by itself: divide the limits by their number."""
    trusted_proxies: Annotated[str, AfterValidator(_networks)] = ""
    """The networks of your own proxies, such as `10.0.0.0/8,fd00::/8`. Only what they say about
    a caller's address is believed. Empty means that the connection's address counts."""
    forwarded_header: ForwardedHeader = "x-forwarded-for"
    """In which header they say it: `x-forwarded-for` or `forwarded` (RFC 7239). Your proxies
    must set this one themselves."""


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("setting", message)
