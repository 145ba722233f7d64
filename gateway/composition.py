"""What the gateway keeps in its own process: accounts, limits, usage, and the security log."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import grpc.aio
from prometheus_client import CollectorRegistry

from gateway.accounts.app import open_accounts
from gateway.accounts.keys import Keys
from gateway.accounts.sessions.revocations import RevocationFollower
from gateway.admission.admission import AccountChecks, Admission
from gateway.admission.counts import CountsMetrics, SharedCounts, open_counts
from gateway.admission.limits import LimitMetrics, Limits
from gateway.admission.throttle import Throttle, ThrottleMetrics
from gateway.admission.tickets import BrowserCookie
from gateway.audit.security_log import SecurityLog, SecurityMetrics
from gateway.http.caller import Proxies, trusted_networks
from gateway.metering.resource_counts import ResourceCounts
from gateway.metering.usage import Usage, UsageMetrics
from gateway.metering.usage_log import UsageLog
from gateway.own_calls import RETRY, OwnLogs
from gateway.settings import Settings
from gateway.shown_processes import ShownProcesses
from girih.client import EventStoreClient
from girih.ids import NO_TENANT
from services.plumbing import correlation
from services.plumbing.auth.keys import SigningKeyFile, TrustedKeys
from services.plumbing.auth.tokens import Issuer, Verifier
from services.plumbing.grpc.channel import Bearer, open_channel
from services.plumbing.grpc.event_store import served_context
from services.plumbing.identity import OPS_READ
from services.plumbing.logging import get_logger
from services.plumbing.metrics import ClientMetrics
from services.plumbing.tasks import OwnedTasks
from services.plumbing.tls import channel_credentials
from services.policy import EVENTS, GATEWAY, LATTICE, POLICY

ACCOUNT_SERVICE = "girih.accounts.v1.AccountService"

_CATCH_UP_S = 5.0

_log = get_logger("accounts")


@dataclass(frozen=True)
class Composition:
    """What a gateway needs that is not behind it."""

    admission: Admission
    services: Mapping[str, object]
    """What serves those services of the contract, by full name, that are served here."""
    trusted: TrustedKeys
    ops_token: Callable[[str], str]
    """The gateway's own token to ask a service how it is, by the service's name."""
    call_metrics: ClientMetrics
    """Count every call that the gateway makes of a service."""
    until_caught_up: Callable[[], Awaitable[None]]
    """Let nobody in before: whose sessions have ended is not known. Takes some seconds at most."""


@asynccontextmanager
async def open_composition(
    settings: Settings,
    registry: CollectorRegistry,
    tasks: OwnedTasks,
    shared_counts: SharedCounts | None = None,
) -> AsyncIterator[Composition]:
    """Everything runs among `tasks`, which are stopped before the rest is written down."""
    issuer, trusted = _issuer(settings, tasks), _trusted(settings, tasks)
    call_metrics = ClientMetrics(registry)
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(
            open_channel(
                settings.events_address,
                tls=channel_credentials(settings),
                metrics=call_metrics,
                carries_call=False,
            )
        )
        logs = OwnLogs(own, issuer)
        counts_metrics = CountsMetrics(registry)
        calls, guesses = [
            await stack.enter_async_context(
                open_counts(_redis(settings), counts_metrics, shared=shared_counts, group=group)
            )
            for group in ("calls", "guesses")
        ]
        usage = Usage(UsageLog(logs), UsageMetrics(registry))
        security = SecurityLog(logs, SecurityMetrics(registry))
        stack.push_async_callback(_settle, tasks, usage, security)
        tasks.start("usage", usage.keep_flushing())
        tasks.start("usage of other processes", usage.keep_following())
        tasks.start("security log", security.keep_writing())
        accounts = await stack.enter_async_context(
            open_accounts(
                settings,
                logs=logs,
                issuer=issuer,
                security=security,
                throttle=Throttle(
                    guesses,
                    ThrottleMetrics(registry),
                    settings.login_failure_count_max,
                    registrations_max=settings.registration_count_max,
                    network_failures_max=settings.network_login_failure_count_max,
                ),
                usage=usage,
                resource_counts=await _resource_counts(stack, settings, issuer, call_metrics),
                processes=await _shown_processes(stack, settings, registry, issuer, call_metrics),
                tasks=tasks,
            )
        )
        admission = Admission(
            Verifier(trusted, GATEWAY, POLICY),
            AccountChecks(
                accounts.revocations.is_revoked,
                _exchange(accounts.keys),
                usage.admit,
                usage.give_back,
                security,
                accounts.tickets.open,
            ),
            Limits(settings, calls, LimitMetrics(registry)),
            Proxies(trusted_networks(settings.trusted_proxies), settings.forwarded_header),
            BrowserCookie(is_secure=settings.http_transport != "plain"),
        )
        yield Composition(
            admission,
            {ACCOUNT_SERVICE: accounts.servicer},
            trusted,
            _ops_token(issuer),
            call_metrics,
            partial(_caught_up, accounts.follower),
        )


async def _caught_up(follower: RevocationFollower) -> None:
    """Wait until it is known whose sessions have ended, unless that takes too long.

    Without the event store a gateway is of little use, and yet it should say so itself.
    """
    if not await follower.until_caught_up(_CATCH_UP_S):
        _log.error("tokens of sessions that ended before are taken until the event store answers")


def _issuer(settings: Settings, tasks: OwnedTasks) -> Issuer:
    is_private = settings.environment != "development"
    key = SigningKeyFile(settings.signing_key, private=is_private)
    tasks.start("signing key", key.watch())
    return Issuer(key, GATEWAY)


def _trusted(settings: Settings, tasks: OwnedTasks) -> TrustedKeys:
    trusted = TrustedKeys(settings.trusted_keys)
    tasks.start("trusted keys", trusted.watch())
    return trusted


def _ops_token(issuer: Issuer) -> Callable[[str], str]:
    return lambda service: issuer.service_token(service, NO_TENANT, (OPS_READ,))


def _exchange(keys: Keys) -> Callable[[str], Awaitable[str]]:
    async def exchange(key: str) -> str:
        return (await keys.access(key)).token

    return exchange


def _redis(settings: Settings) -> str | None:
    return None if settings.redis_url is None else settings.redis_url.get_secret_value()


async def _resource_counts(
    stack: AsyncExitStack, settings: Settings, issuer: Issuer, metrics: ClientMetrics
) -> ResourceCounts:
    may_count_events = _own_token(issuer, EVENTS, "events.read")
    may_count_lattices = _own_token(issuer, LATTICE, "lattices.read")
    events = await _channel(stack, settings.events_address, settings, may_count_events, metrics)
    lattice = await _channel(stack, settings.lattice_address, settings, may_count_lattices, metrics)
    client = EventStoreClient(events, context=served_context, retry=RETRY)
    return ResourceCounts(client, lattice)


async def _shown_processes(
    stack: AsyncExitStack,
    settings: Settings,
    registry: CollectorRegistry,
    issuer: Issuer,
    metrics: ClientMetrics,
) -> ShownProcesses:
    addresses = {
        "events": settings.events_address,
        "lattice": settings.lattice_address,
        "projections": settings.projections_address,
    }
    tls = channel_credentials(settings)
    channels = {
        name: await stack.enter_async_context(
            open_channel(address, tls=tls, metrics=metrics, carries_call=False)
        )
        for name, address in addresses.items()
    }
    return ShownProcesses(settings, registry, channels, _ops_token(issuer))


def _own_token(issuer: Issuer, service: str, scope: str) -> Bearer:
    """The gateway's own token for whoever makes the call being served, whatever they may do."""

    def token() -> str:
        call = correlation.current()
        return issuer.service_token(service, call.tenant, (scope,), call.principal)

    return token


async def _channel(
    stack: AsyncExitStack,
    address: str,
    settings: Settings,
    bearer: Bearer,
    metrics: ClientMetrics,
) -> grpc.aio.Channel:
    tls = channel_credentials(settings)
    channel = open_channel(address, bearer=bearer, tls=tls, metrics=metrics)
    return await stack.enter_async_context(channel)


async def _settle(tasks: OwnedTasks, usage: Usage, security: SecurityLog) -> None:
    await tasks.stop()
    await security.close()
    await usage.close()
