"""The public keys that access tokens are signed with, for whoever verifies them elsewhere."""

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.plumbing.auth.keys import TrustedKey, TrustedKeys
from services.plumbing.base64url import to_base64url
from services.policy import GATEWAY

_HEADERS = {
    "cache-control": "public, max-age=60",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


def jwks_route(trusted: TrustedKeys) -> Route:
    """Those of the gateway alone: what services sign for one another is nobody's business."""

    async def answer(_request: Request) -> Response:
        keys = [key for key in trusted.current.values() if key.issuer == GATEWAY]
        jwks = [_jwk(key) for key in keys if trusted.find(key.kid) is not None]
        return Response(orjson.dumps({"keys": jwks}), 200, _HEADERS, "application/jwk-set+json")

    return Route("/.well-known/jwks.json", answer)


def _jwk(key: TrustedKey) -> dict[str, str]:
    public = to_base64url(key.public.public_bytes_raw())
    return {
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key.kid, "x": public,
    }  # fmt: skip
