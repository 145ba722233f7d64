"""Calls to the event store that the gateway makes for itself, in the log of some tenant.

They carry the gateway's own token, never that of the caller being served.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc
import grpc.aio

from services.plumbing import correlation
from services.plumbing.auth.tokens import Issuer
from services.plumbing.correlation import Call
from services.plumbing.errors import Unavailable
from services.plumbing.grpc.channel import Bearer
from services.plumbing.grpc.errors import from_rpc_error
from services.policy import EVENTS

SCOPES: Final = frozenset({"events.append", "events.read"})

AWAY: Final = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    # A key that this process has and the event store has not read yet.
    grpc.StatusCode.UNAUTHENTICATED,
}
"""What a call ends with that the event store could not take now."""


class EventsUnavailable(Unavailable):
    """The event store, which holds accounts, usage and the security log, cannot be reached."""

    reason = "EVENTS_UNAVAILABLE"


class EventsRefused(Exception):
    """The event store will not take this, however often it is tried. A bug, ours or its."""


def own_bearer(issuer: Issuer) -> Bearer:
    """For `open_channel`: the gateway's own token, for the tenant that `as_gateway` names."""
    return lambda: issuer.service_token(EVENTS, correlation.current().tenant, SCOPES)


@contextmanager
def as_gateway(tenant: str, correlation_id: str = "") -> Iterator[None]:
    """Calls begun inside are the gateway's own, in the log of `tenant`.

    Raises EventsUnavailable and EventsRefused for what goes wrong with them.
    """
    try:
        with correlation.bind(Call(correlation_id or correlation.fresh(), tenant=tenant)):
            yield
    except grpc.aio.AioRpcError as error:
        refusal = from_rpc_error(error)
        if refusal.code not in AWAY:
            raise EventsRefused(f"{refusal.code.name} {refusal.message}") from error
        raise EventsUnavailable(
            "the event store cannot be reached", retry_after_s=refusal.retry_after_s or 1.0
        ) from error
