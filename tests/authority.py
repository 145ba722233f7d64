"""Keys and tokens for the tests: whoever asks becomes anybody.

A test authority is a directory with the keys of all issuers and the trust store, made as
`girih up` makes them, so that processes and servers of the tests verify for real.

    def test_something(authority):
        settings = Settings(trusted_keys=authority.trusted_keys, ...)     # in this process
        environ = {**os.environ, **authority.environ}                     # or in another

    await stub.Append(request, metadata=authority.metadata())             # as tenant "default"
    await stub.Append(request, metadata=authority.metadata("acme"))       # as somebody else's
    await stub.Append(request, metadata=authority.metadata(scopes=["events.read"]))  # refused

A channel that calls as the tenant of the current call, as our own clients do:

    channel = open_channel(address, bearer=authority.bearer)
    with correlation.bind(correlation.Call("id", tenant="acme")):
        await Stub(channel).Append(request)

Wrong on purpose: every claim can be replaced, and left out with None.

    authority.token(exp=0)                             # expired
    authority.token(aud=["lattice.girih"])             # for another service
    authority.token(jti=None)                          # incomplete
    authority.token(key=authority.lattice, iss="lattice.girih")
    authority.service_token("events.girih", "acme")    # of the lattice service, for a user
"""

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from services.plumbing import correlation
from services.plumbing.auth.keys import SigningKey, read_jwks, write_atomically, write_jwks
from services.plumbing.auth.tokens import ACCESS, LIFETIME_S_MAX, SERVICE, sign
from services.policy import GATEWAY, LATTICE, POLICY, PROJECTIONS, SCOPES, PlanLimits

UNLIMITED = PlanLimits("unlimited", 0, 0, 0, 0)
_ISSUERS = ("gateway", "lattice", "projections")
USER = "user:00000000-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class Authority:
    """The keys of one test run, and tokens signed with them."""

    directory: Path
    gateway: SigningKey
    lattice: SigningKey
    projections: SigningKey

    @classmethod
    def create(cls, directory: Path) -> Self:
        """Make keys and the trust store in a directory, which may not exist yet."""
        directory.mkdir(parents=True, exist_ok=True)
        authority = cls(directory, *(SigningKey.generate() for _ in _ISSUERS))
        authority.gateway.save(authority.gateway_key)
        authority.lattice.save(authority.lattice_key)
        authority.projections.save(authority.projections_key)
        secret = os.urandom(32).hex().encode()
        write_atomically(authority.refresh_secret, secret, mode=0o600)
        jwks = [
            authority.gateway.public_jwk(GATEWAY),
            authority.lattice.public_jwk(LATTICE),
            authority.projections.public_jwk(PROJECTIONS),
        ]
        write_jwks(authority.trusted_keys, jwks)
        return authority

    @classmethod
    def load(cls, directory: Path) -> Self:
        """One that was made before, maybe by another process."""
        return cls(directory, *(SigningKey.load(directory / f"{name}.pem") for name in _ISSUERS))

    @property
    def trusted_keys(self) -> Path:
        return self.directory / "trusted.json"

    @property
    def gateway_key(self) -> Path:
        return self.directory / "gateway.pem"

    @property
    def lattice_key(self) -> Path:
        return self.directory / "lattice.pem"

    @property
    def projections_key(self) -> Path:
        return self.directory / "projections.pem"

    @property
    def refresh_secret(self) -> Path:
        return self.directory / "refresh.secret"

    @property
    def environ(self) -> dict[str, str]:
        """What processes are told of it, every one what the others are too."""
        return {
            "GIRIH_TRUSTED_KEYS": str(self.trusted_keys),
            "GATEWAY_SIGNING_KEY": str(self.gateway_key),
            "GATEWAY_REFRESH_SECRET": str(self.refresh_secret),
            "LATTICE_SIGNING_KEY": str(self.lattice_key),
            "PROJECTIONS_SIGNING_KEY": str(self.projections_key),
            "LATTICE_STORAGE": str(self.directory / "arrays"),
        }

    def publish(self, key: SigningKey, iss: str) -> None:
        """Let everybody trust one more key."""
        write_jwks(self.trusted_keys, [*read_jwks(self.trusted_keys), key.public_jwk(iss)])

    def retire(self, key: SigningKey, at: float) -> None:
        """Let nobody trust a key from a moment on, in unix seconds."""
        jwks = read_jwks(self.trusted_keys)
        changed = [jwk | {"retire_at": at} if jwk["kid"] == key.kid else jwk for jwk in jwks]
        write_jwks(self.trusted_keys, changed)

    def token(
        self,
        tenant: str = "default",
        scopes: Collection[str] = SCOPES,
        *,
        role: str = "owner",
        plan: Any = UNLIMITED,
        key: SigningKey | None = None,
        typ: str = ACCESS,
        **claims: Any,
    ) -> str:
        """An access token of a user, good for everything, with `claims` in place of its own."""
        own = {
            "iss": GATEWAY,
            "sub": USER,
            "aud": list(POLICY.audiences),
            "tenant": tenant,
            "scope": " ".join(sorted(scopes)),
            "role": role,
            "sid": "00000000000040008000000000000002",
            "plan": plan.claim() if isinstance(plan, PlanLimits) else plan,
        }
        return self._sign(key or self.gateway, typ, own | claims)

    def service_token(
        self,
        audience: str,
        tenant: str = "default",
        scopes: Collection[str] = ("events.append", "events.read"),
        *,
        service: str = LATTICE,
        **claims: Any,
    ) -> str:
        """A token of a service that acts for a user, with `claims` in place of its own."""
        keys = {LATTICE: self.lattice, PROJECTIONS: self.projections}
        key = keys.get(service, self.gateway)
        own = {
            "iss": service,
            "sub": USER,
            "act": {"sub": service},
            "aud": [audience],
            "tenant": tenant or None,
            "scope": " ".join(sorted(scopes)),
        }
        return self._sign(key, SERVICE, own | claims)

    def metadata(self, tenant: str = "default", **options: Any) -> list[tuple[str, str]]:
        """The metadata of a call with a token; takes what `token` takes."""
        return [("authorization", f"Bearer {self.token(tenant, **options)}")]

    def headers(self, tenant: str = "default", **options: Any) -> dict[str, str]:
        """The same for HTTP."""
        return dict(self.metadata(tenant, **options))

    def bearer(self) -> str:
        """For `open_channel`: a token for the tenant of the current call, or "default"."""
        return self.token(correlation.current().tenant or "default")

    def _sign(self, key: SigningKey, typ: str, claims: dict[str, Any]) -> str:
        now = int(time.time())
        times = {"iat": now, "nbf": now, "exp": now + LIFETIME_S_MAX, "jti": os.urandom(8).hex()}
        # What is cut short expires in the past and was not issued in the future.
        if isinstance(claims.get("exp"), int) and claims["exp"] <= now:
            times |= {"iat": claims["exp"] - 60, "nbf": claims["exp"] - 60}
        every = times | claims
        return sign(key, typ, {name: value for name, value in every.items() if value is not None})
