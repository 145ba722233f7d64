"""Tokens: who may issue which, and what must hold before one is believed.

PyJWT and cryptography do the signatures. Everything around them is checked here, since a
signature that fits says nothing of the rest (RFC 8725). One algorithm, keys by their exact
name, and of every claim its type and its bounds. Knows no transport.
"""

import json
import os
import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

from cachetools import LRUCache
from jwt import InvalidTokenError
from jwt.api_jws import PyJWS

from girih.ids import NO_TENANT, TenantId
from services.plumbing.auth.jose import json_object
from services.plumbing.auth.keys import SigningKey, TrustedKey, TrustedKeys
from services.plumbing.auth.policy import IssuerPolicy, TokenPolicy
from services.plumbing.base64url import from_base64url
from services.plumbing.correlation import well_formed_tenant
from services.plumbing.errors import Unauthenticated
from services.plumbing.identity import Plan, Principal

ACCESS: Final = "at+jwt"
"""The type of a token that a user or a key calls with."""
SERVICE: Final = "service+jwt"
"""The type of a token that a service calls with itself."""

LIFETIME_S_MAX: Final = 900
"""The longest that a token may live, in seconds, whoever signed it."""
SERVICE_LIFETIME_S: Final = 60
TOKEN_BYTES_MAX: Final = 4_096

_LEEWAY_S = 10  # how far the clock of an issuer may be ahead
_VERIFIED_MAX = 4_096
_ISSUED_MAX = 4_096

_shape = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII).fullmatch
_acting_subject = re.compile(
    r"user:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|key:[A-Za-z0-9_-]{1,64}", re.ASCII
).fullmatch
_name = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII).fullmatch
_jws = PyJWS(algorithms=["EdDSA"])


class TokenRefused(Unauthenticated):
    """A token that proves nothing. Callers are not told why; `why` is for the log."""

    def __init__(self, message: str, why: str, principal: Principal | None = None) -> None:
        super().__init__(message)
        self.why = why
        self.principal = principal
        """Whose token it was, where its signature at least was right."""


class TokenInvalid(TokenRefused):
    """The token is not one of ours, or not one for this."""

    reason = "TOKEN_INVALID"


class TokenExpired(TokenRefused):
    """The token was good and no longer is: get a new one, then retry."""

    reason = "TOKEN_EXPIRED"


class _Flaw(Exception):
    """What is wrong with a token, in words that hold nothing of it."""


class Verifier:
    """Tells who a token speaks for, in one process that goes by the name `audience`."""

    def __init__(
        self,
        trusted: TrustedKeys,
        audience: str,
        policy: TokenPolicy,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._trusted = trusted
        self._policy = policy
        self._audience = audience
        self._now = now
        # Only tokens with a right signature come here: strangers cannot fill the memory.
        self._verified: LRUCache[str, tuple[Principal, TrustedKey]] = LRUCache(_VERIFIED_MAX)

    def verify(self, token: str) -> Principal:
        """Raises `TokenInvalid` or `TokenExpired`.

        Costs a signature check once per token, then about a microsecond. What was verified
        is believed as long as the very key that did it is in the trust store.
        """
        now = self._now()
        verified = self._verified.get(token)
        if verified is None or self._trusted.current.get(verified[1].kid) is not verified[1]:
            verified = self._verified[token] = self._examine(token, now)
        principal, key = verified
        if now >= key.retire_at:
            raise _invalid("its key has retired", principal)
        if now >= principal.expires_at:
            raise expired(principal)
        return principal

    def _examine(self, token: str, now: float) -> tuple[Principal, TrustedKey]:
        try:
            typ, kid = _header(token)
            key = self._key(kid)
            claims = _claims(token, key)
            return _principal(claims, typ, key, self._audience, self._policy, now), key
        except _Flaw as flaw:
            raise _invalid(str(flaw)) from None

    def _key(self, kid: str) -> TrustedKey:
        key = self._trusted.known(kid)
        if key is None:
            raise _Flaw("no such key")
        return key


def expired(principal: Principal) -> TokenExpired:
    """The error of a call whose token has ended while it lasted."""
    return TokenExpired("the token has expired", "it has expired", principal)


class KeySource(Protocol):
    """Where an issuer finds its key at the moment: a `SigningKeyFile`."""

    @property
    def current(self) -> SigningKey: ...


class Issuer:
    """Issues the tokens of one issuer, `iss`."""

    def __init__(self, key: KeySource, iss: str, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._iss = iss
        self._now = now
        self._issued: LRUCache[tuple[object, ...], tuple[float, float, str]] = LRUCache(_ISSUED_MAX)

    @property
    def key_id(self) -> str:
        """The name of the key that signs now."""
        return self._key.current.kid

    def access_token(
        self,
        *,
        tenant: TenantId,
        subject: str,
        audiences: Collection[str],
        scopes: Collection[str],
        role: str,
        session: str,
        plan: Plan,
        lifetime_s: int = LIFETIME_S_MAX,
    ) -> str:
        """A token that a user or a key calls the services named by `audiences` with."""
        claims = {
            "sub": subject,
            "aud": list(audiences),
            "tenant": tenant,
            "scope": " ".join(sorted(scopes)),
            "role": role,
            "sid": session,
            "plan": plan.claim(),
        }
        return self._sign(ACCESS, claims, lifetime_s)

    def service_token(
        self,
        audience: str,
        tenant: TenantId,
        scopes: Collection[str],
        acting: Principal | None = None,
        lifetime_s: int = SERVICE_LIFETIME_S,
    ) -> str:
        """A token that this service calls `audience` with, for `acting` where there is one.

        The same one is given again until a third of its life is left.
        """
        subject = acting.subject if acting is not None else self._iss
        wanted = (audience, tenant, tuple(sorted(scopes)), subject, lifetime_s, self._key.current)
        issued_s, good_until_s, token = self._issued.get(wanted, (0.0, 0.0, ""))
        # A clock that was set back has nobody believe what it issued before: not for now.
        if issued_s <= self._now() < good_until_s:
            return token
        token = self._sign(
            SERVICE,
            {
                "sub": subject,
                "aud": [audience],
                "scope": " ".join(sorted(scopes)),
                "act": {"sub": self._iss},
                **({"tenant": tenant} if tenant else {}),
            },
            lifetime_s,
        )
        now_s = self._now()
        self._issued[wanted] = (now_s, now_s + lifetime_s * 2 / 3, token)
        return token

    def _sign(self, typ: str, claims: Mapping[str, Any], lifetime_s: int) -> str:
        now = int(self._now())
        claims = {
            "iss": self._iss,
            **claims,
            "iat": now,
            "nbf": now,
            "exp": now + lifetime_s,
            "jti": os.urandom(16).hex(),
        }
        return sign(self._key.current, typ, claims)


def sign(key: SigningKey, typ: str, claims: Mapping[str, Any]) -> str:
    """A token with exactly these claims. Issuers are the ones to use it."""
    text = json.dumps(claims, separators=(",", ":")).encode()
    return _jws.encode(text, key.private, algorithm="EdDSA", headers={"typ": typ, "kid": key.kid})


def _invalid(why: str, principal: Principal | None = None) -> TokenInvalid:
    return TokenInvalid("the token is not valid", why, principal)


def _header(token: str) -> tuple[str, str]:
    """Type and key of a token of the right shape; nothing in it is proved yet."""
    if len(token) > TOKEN_BYTES_MAX or _shape(token) is None:
        raise _Flaw("it has not the shape of a token")
    try:
        encoded, _, signature = token.split(".")
        from_base64url(signature)
        header = json_object(from_base64url(encoded))
    except (ValueError, RecursionError):
        raise _Flaw("its header cannot be read") from None
    if header.keys() != {"alg", "typ", "kid"}:
        raise _Flaw("its header says more or less than alg, typ and kid")
    if header["alg"] != "EdDSA":
        raise _Flaw("it names another algorithm")
    typ, kid = header["typ"], header["kid"]
    if typ not in (ACCESS, SERVICE) or not isinstance(kid, str):
        raise _Flaw("it is of no type of ours")
    return typ, kid


def _claims(token: str, key: TrustedKey) -> dict[str, Any]:
    """What the token says, proved to be said by the holder of `key`."""
    try:
        payload: bytes = _jws.decode(token, key.public, algorithms=["EdDSA"])
    except InvalidTokenError:
        raise _Flaw("its signature is wrong") from None
    try:
        from_base64url(token.split(".")[1])
        return json_object(payload)
    except (ValueError, RecursionError):
        raise _Flaw("its claims cannot be read") from None


def _principal(
    claims: Mapping[str, Any],
    typ: str,
    key: TrustedKey,
    audience: str,
    policy: TokenPolicy,
    now: float,
) -> Principal:
    if claims.get("iss") != key.issuer:
        raise _Flaw("its issuer is not the one of the key")
    issuer = policy.issuers.get(key.issuer)
    if issuer is None:
        raise _Flaw("its issuer may issue nothing")
    _check_audience(claims.get("aud"), audience)
    expires_at = _check_times(claims, now)
    _text(claims, "jti")
    if typ == ACCESS:
        return _access_principal(claims, key.issuer, issuer, policy, expires_at)
    return _service_principal(claims, key.issuer, issuer, policy, expires_at)


def _access_principal(
    claims: Mapping[str, Any],
    name: str,
    issuer: IssuerPolicy,
    policy: TokenPolicy,
    expires_at: int,
) -> Principal:
    if not issuer.access_tokens:
        raise _Flaw("its issuer may not issue access tokens")
    if "act" in claims:
        raise _Flaw("an access token acts for nobody")
    tenant = _tenant(claims)
    if tenant.startswith(policy.reserved_tenants):
        raise _Flaw("an access token is for no tenant of our own")
    return Principal(
        tenant=tenant,
        subject=_subject(claims),
        scopes=_scopes(claims) & policy.scopes,
        issuer=name,
        role=_text(claims, "role"),
        session=_text(claims, "sid"),
        plan=_plan(claims.get("plan"), policy),
        expires_at=expires_at,
    )


def _service_principal(
    claims: Mapping[str, Any],
    name: str,
    issuer: IssuerPolicy,
    policy: TokenPolicy,
    expires_at: int,
) -> Principal:
    if claims.get("act") != {"sub": name}:
        raise _Flaw("its issuer is not the service that acts")
    if "role" in claims or "sid" in claims or "plan" in claims:
        raise _Flaw("a service has no role, session or plan")
    tenant = _tenant(claims) if "tenant" in claims else NO_TENANT
    subject = name if claims.get("sub") == name else _subject(claims)
    scopes = _scopes(claims) & policy.scopes
    if not scopes <= issuer.service_scopes:
        raise _Flaw("its issuer may not hold these scopes")
    if not issuer.reserved_tenants and tenant.startswith(policy.reserved_tenants):
        raise _Flaw("its issuer may not name a tenant of our own")
    if not issuer.alone_for_tenants and tenant and subject == name:
        raise _Flaw("its issuer may name a tenant only for somebody")
    return Principal(
        tenant=tenant,
        subject=subject,
        scopes=scopes,
        issuer=name,
        service=name,
        expires_at=expires_at,
    )


def _check_audience(claim: object, audience: str) -> None:
    if not isinstance(claim, list) or not all(isinstance(name, str) for name in claim):
        raise _Flaw("its audience is no list of names")
    if audience not in claim:
        raise _Flaw("it is meant for another service")


def _check_times(claims: Mapping[str, Any], now: float) -> int:
    """When it expires. Whether it has is asked each time it is used."""
    begins, issued_at, expires_at = (_moment(claims, name) for name in ("nbf", "iat", "exp"))
    if begins > now + _LEEWAY_S or issued_at > now + _LEEWAY_S:
        raise _Flaw("it is not valid yet")
    if not 0 < expires_at - issued_at <= LIFETIME_S_MAX:
        raise _Flaw("it lives longer than a token may")
    return expires_at


def _moment(claims: Mapping[str, Any], name: str) -> int:
    claim = claims.get(name)
    if type(claim) is not int:  # a bool is an int, and true no moment
        raise _Flaw(f"its {name} is missing, or no whole number")
    return claim


def _tenant(claims: Mapping[str, Any]) -> TenantId:
    claim = claims.get("tenant")
    if not isinstance(claim, str) or not well_formed_tenant(claim):
        raise _Flaw("its tenant is missing or ill-formed")
    return TenantId(claim)


def _subject(claims: Mapping[str, Any]) -> str:
    claim = claims.get("sub")
    if not isinstance(claim, str) or _acting_subject(claim) is None:
        raise _Flaw("its subject is missing or ill-formed")
    return claim


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Those we do not know grant nothing: they may be of a later version."""
    claim = claims.get("scope")
    if not isinstance(claim, str):
        raise _Flaw("its scope is missing, or no text")
    return frozenset(claim.split(" ")) if claim else frozenset()


def _text(claims: Mapping[str, Any], name: str) -> str:
    claim = claims.get(name)
    if not isinstance(claim, str) or _name(claim) is None:
        raise _Flaw(f"its {name} is missing or ill-formed")
    return claim


def _plan(claim: object, policy: TokenPolicy) -> Plan:
    if not isinstance(claim, dict):
        raise _Flaw("its plan is missing or ill-formed")
    _text(claim, "name")
    try:
        return policy.read_plan(claim)
    except ValueError:
        raise _Flaw("its plan is not one") from None
