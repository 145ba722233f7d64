"""What somebody may send in place of a good token. Every one of these must be refused.

Made with the keys of a test authority, so that each is wrong in one respect alone.
"""

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.plumbing.auth.keys import SigningKey
from services.plumbing.auth.tokens import ACCESS, SERVICE
from services.policy import GATEWAY, LATTICE, POLICY
from tests.authority import UNLIMITED, Authority

TEN_YEARS_S = 10 * 365 * 86_400
HOSTILE_KIDS = (
    "../../../../dev/null",
    "' OR 1=1 --",
    "http://127.0.0.1/jwks.json",
    "",
    "x" * 2_000,
)


def tokens(authority: Authority, tenant: str, refresh_token: str) -> Iterator[tuple[str, str]]:
    """Every bad token for a tenant that exists, by what is wrong with it."""
    now = int(time.time())

    def good(**claims: Any) -> str:
        return authority.token(tenant, **claims)

    yield "malformed", "not-a-token"
    yield "malformed, of the right shape", "a.b.c"
    yield "cut off", good()[:-10]
    yield "changed after it was signed", _with_claims(good(), {"tenant": "somebody-else"})
    yield "expired", good(exp=now - 60)
    yield "not yet valid", good(nbf=now + 300, iat=now + 300, exp=now + 600)
    yield "wrong audience", good(aud=["elsewhere.girih"])
    yield "no audience", good(aud=None)
    yield "wrong issuer", good(iss="https://evil.test")
    yield "signed by a stranger", good(key=SigningKey.generate())
    yield "signed by the lattice service", good(key=authority.lattice)
    yield "issued by the lattice service", good(key=authority.lattice, iss=LATTICE)
    yield "refresh token as access token", refresh_token
    yield "lifetime of ten years", good(exp=now + TEN_YEARS_S)
    yield "of a service's type", good(typ=SERVICE)
    yield "for a tenant of our own", authority.token("girih-accounts")
    yield "of no subject", good(sub=None)
    yield from _forged(authority, tenant, now)


def _forged(authority: Authority, tenant: str, now: int) -> Iterator[tuple[str, str]]:
    """Tokens whose header tries to choose how they are verified."""
    kid = authority.gateway.kid
    claims = _claims(tenant, now)
    for alg in ("none", "nOnE", "NONE", ""):
        yield f"alg {alg!r}", _raw({"alg": alg, "typ": ACCESS, "kid": kid}, claims, b"")
    public = authority.gateway.private.public_key()
    for form, key in {
        "PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "raw": public.public_bytes(Encoding.Raw, PublicFormat.Raw),
    }.items():
        header = {"alg": "HS256", "typ": ACCESS, "kid": kid}
        yield f"HS256 with the public key as {form}", _hs256(header, claims, key)
    for hostile in HOSTILE_KIDS:
        header = {"alg": "EdDSA", "typ": ACCESS, "kid": hostile}
        yield f"kid {hostile[:30]!r}", _signed(authority.gateway, header, claims)
    stranger = SigningKey.generate()
    misleading: dict[str, Any] = {
        "jwk": stranger.public_jwk(GATEWAY),
        "jku": "http://127.0.0.1/jwks.json",
        "x5u": "http://127.0.0.1/x5u.pem",
        "crit": ["exp"],
    }
    for name, value in misleading.items():
        header = {"alg": "EdDSA", "typ": ACCESS, "kid": kid, name: value}
        yield f"{name} in its header", _signed(authority.gateway, header, claims)
        yield f"{name} of a stranger", _signed(stranger, header, claims)


def _claims(tenant: str, now: int) -> dict[str, Any]:
    return {
        "iss": GATEWAY,
        "sub": "user:00000000-0000-4000-8000-000000000001",
        "aud": list(POLICY.audiences),
        "tenant": tenant,
        "scope": "events.read events.append lattices.read lattices.write",
        "role": "owner",
        "sid": "00000000000040008000000000000002",
        "plan": UNLIMITED.claim(),
        "iat": now,
        "nbf": now,
        "exp": now + 300,
        "jti": os.urandom(8).hex(),
    }


def _with_claims(token: str, changed: dict[str, Any]) -> str:
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return ".".join([header, _encoded(claims | changed), signature])


def _signed(key: SigningKey, header: dict[str, Any], claims: dict[str, Any]) -> str:
    signed = f"{_encoded(header)}.{_encoded(claims)}"
    return f"{signed}.{_base64(key.private.sign(signed.encode()))}"


def _hs256(header: dict[str, Any], claims: dict[str, Any], key: bytes) -> str:
    signed = f"{_encoded(header)}.{_encoded(claims)}"
    return f"{signed}.{_base64(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def _raw(header: dict[str, Any], claims: dict[str, Any], signature: bytes) -> str:
    return f"{_encoded(header)}.{_encoded(claims)}.{_base64(signature)}"


def _encoded(result: dict[str, Any]) -> str:
    return _base64(json.dumps(result, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
