"""Accounts as a replica of the gateway serves them, on a real event store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import grpc.aio
from prometheus_client import CollectorRegistry

from gateway.accounts import app
from gateway.accounts.app import open_accounts
from gateway.accounts.ports import now_ms
from gateway.accounts.settings import AccountSettings
from gateway.admission.counts import CountsMetrics, open_counts
from gateway.admission.throttle import Throttle, ThrottleMetrics
from gateway.audit.security_log import STREAM, TYPE_PREFIX, SecurityLog, SecurityMetrics
from gateway.metering.resource_counts import ResourceCounts
from gateway.metering.usage import Usage, UsageMetrics
from gateway.metering.usage_log import UsageLog
from gateway.own_calls import OwnLogs
from gateway.shown_processes import ShownProcesses
from girih.accounts.v1 import accounts_pb2 as pb
from girih.client import EventStoreClient, open_channel
from girih.ids import NO_TENANT
from services.plumbing import correlation
from services.plumbing.auth.keys import SigningKeyFile, TrustedKeys
from services.plumbing.auth.tokens import Issuer, TokenInvalid, Verifier
from services.plumbing.correlation import Call
from services.plumbing.errors import EventsUnavailable
from services.plumbing.grpc.contract import scope_of
from services.plumbing.identity import Principal, authorize
from services.plumbing.tasks import OwnedTasks
from services.policy import GATEWAY, POLICY
from tests.authority import Authority
from tests.conftest import HASHING

SERVICE = pb.DESCRIPTOR.services_by_name["AccountService"]
PASSWORD = "a strapwork of stars"
_ATTEMPTS_MAX = 10


@dataclass
class Clock:
    """A clock that tests put forward."""

    ahead_ms: int = 0

    def __call__(self) -> int:
        return now_ms() + self.ahead_ms

    def pass_s(self, seconds: float) -> None:
        self.ahead_ms += int(seconds * 1_000)


@dataclass
class Replica:
    """One process's accounts, called as through its door."""

    accounts: app.Accounts
    security: SecurityLog
    verifier: Verifier
    tasks: OwnedTasks
    clock: Clock = field(default_factory=Clock)

    async def call(self, rpc: str, request: Any, token: str = "") -> Any:
        """Call an rpc as whoever the token speaks for, if the door would let it in."""
        principal = self.verifier.verify(token) if token else None
        if principal and self.accounts.is_revoked(principal.session):
            raise TokenInvalid("the session has ended", "it was revoked")
        return await self.call_as(principal, rpc, request)

    async def call_as(self, principal: Principal | None, rpc: str, request: Any) -> Any:
        authorize(principal, scope_of(SERVICE.methods_by_name[rpc]))
        with correlation.bind(Call(correlation.fresh(), principal=principal)):
            return await getattr(self.accounts.servicer, rpc)(request)

    async def register(self, email: str = "", **fields: str) -> pb.RegisterResponse:
        request = {"email": email or fresh_email(), "password": PASSWORD, "name": "Ada"} | fields
        response: pb.RegisterResponse = await self._served(
            "Register", pb.RegisterRequest(**request)
        )
        return response

    async def login(self, email: str, **fields: str) -> pb.LoginResponse:
        request = pb.LoginRequest(**({"email": email, "password": PASSWORD} | fields))
        response: pb.LoginResponse = await self._served("Login", request)
        return response

    async def refresh(self, token: str) -> pb.Tokens:
        response = await self.call("Refresh", pb.RefreshRequest(refresh_token=token))
        tokens: pb.Tokens = response.tokens
        return tokens

    async def owner(self) -> pb.LoginResponse:
        """Somebody new, logged in to a tenant of their own."""
        registered = await self.register()
        return await self.login(registered.user.email)

    async def joined(self, owner: pb.LoginResponse, role: pb.Role) -> pb.LoginResponse:
        """Somebody new, logged in to the owner's tenant with this role."""
        email = fresh_email()
        invited = await self.invite(owner, email, role)
        request = pb.AcceptInvitationRequest(token=invited.token, password=PASSWORD, name="Omar")
        await self.call("AcceptInvitation", request)
        return await self.login(email)

    async def _served(self, rpc: str, request: Any) -> Any:
        """What an event store that is late, on a busy machine, answers when it is asked again."""
        for _ in range(_ATTEMPTS_MAX - 1):
            try:
                return await self.call(rpc, request)
            except EventsUnavailable as error:
                await asyncio.sleep(error.retry_after_s or 0)
        return await self.call(rpc, request)

    async def invite(
        self, inviting: pb.LoginResponse, email: str, role: pb.Role
    ) -> pb.CreateInvitationResponse:
        request = pb.CreateInvitationRequest(email=email, role=role)
        response: pb.CreateInvitationResponse = await self.call(
            "CreateInvitation", request, inviting.access_token
        )
        return response


def _ops_token(issuer: Issuer) -> Callable[[str], str]:
    return lambda service: issuer.service_token(service, NO_TENANT, ("ops.read",))


def fresh_email() -> str:
    return f"ada-{uuid4().hex[:12]}@girih.dev"


@asynccontextmanager
async def open_replica(
    events_address: str, authority: Authority, clock: Clock | None = None, **environ: str
) -> AsyncIterator[Replica]:
    """A replica, with everything that it consists of in the gateway."""
    settings = account_settings(authority, **environ)
    issuer = Issuer(SigningKeyFile(settings.signing_key), GATEWAY)
    registry, clock, tasks = CollectorRegistry(), clock or Clock(), OwnedTasks()
    async with (
        open_channel(events_address) as channel,
        open_counts(None, CountsMetrics(registry)) as counts,
    ):
        logs = OwnLogs(channel, issuer)
        security = SecurityLog(logs, SecurityMetrics(registry))
        async with open_accounts(
            settings,
            logs=logs,
            issuer=issuer,
            security=security,
            throttle=Throttle(counts, ThrottleMetrics(registry), 0),
            usage=Usage(UsageLog(logs), UsageMetrics(registry)),
            resource_counts=ResourceCounts(EventStoreClient(channel), channel),
            processes=ShownProcesses(settings, registry, {"events": channel}, _ops_token(issuer)),
            tasks=tasks,
            clock=clock,
        ) as accounts:
            verifier = Verifier(TrustedKeys.load(authority.trusted_keys), GATEWAY, POLICY)
            tasks.start("security", security.keep_writing())
            yield Replica(accounts, security, verifier, tasks, clock)
            assert tasks.failure is None, f"a task has died: {tasks.failure}"
            await tasks.stop()
            await security.close()


def account_settings(authority: Authority, **environ: str) -> AccountSettings:
    base = {
        "GIRIH_ENVIRONMENT": "development",
        "SIGNING_KEY": str(authority.gateway_key),
        "REFRESH_SECRET": str(authority.refresh_secret),
        **HASHING,
    }
    return AccountSettings.from_environ(base | environ)


async def security_events(
    channel: grpc.aio.Channel, authority: Authority, tenant: str
) -> list[tuple[str, dict[str, Any]]]:
    """What was recorded of a tenant's security: kinds, and what they tell."""
    events = EventStoreClient(channel, token=authority.token(tenant))
    return [
        (event.type.removeprefix(TYPE_PREFIX), event.data) async for event in events.read(STREAM)
    ]
