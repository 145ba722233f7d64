"""Calls to the event store that the gateway makes for itself, in the log of some tenant.

They carry the gateway's own token, never that of the caller being served.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc.aio

from girih.client import CallContext, EventStoreClient, GirihError, LogReplaced, RetryPolicy
from girih.client.context import ContextSource
from girih.ids import TenantId
from services.plumbing.auth.tokens import Issuer
from services.plumbing.errors import EventsUnavailable
from services.plumbing.grpc.event_store import events_unavailable_named
from services.policy import EVENTS

SCOPES: Final = frozenset({"events.append", "events.read"})

RETRY: Final = RetryPolicy(
    timeout_s=5.0, attempt_timeout_s=5.0, attempt_count_max=3, pause_s_min=0.1, pause_s_max=1.0
)
"""Callers wait meanwhile: they had better be told soon, and come back themselves."""


class EventsRefused(Exception):
    """The event store will not take this, however often it is tried. A bug, ours or its."""


class OwnLogs:
    """The logs of all tenants, to the gateway itself."""

    def __init__(self, channel: grpc.aio.Channel, issuer: Issuer) -> None:
        self._channel = channel
        self._issuer = issuer

    def of(self, tenant: str, context: ContextSource = CallContext) -> EventStoreClient:
        """A client of the log of `tenant`. Without a context its calls are caused by nobody."""

        def token() -> str:
            return self._issuer.service_token(EVENTS, TenantId(tenant), SCOPES)

        return EventStoreClient(self._channel, token=token, context=context, retry=RETRY)


@contextmanager
def refusals_named() -> Iterator[None]:
    """Raises EventsUnavailable and EventsRefused for what goes wrong with calls inside."""
    try:
        with events_unavailable_named():
            yield
    except LogReplaced as error:
        # In the middle of a read: read again, it is another log.
        raise EventsUnavailable(error.message) from error
    except GirihError as error:
        raise EventsRefused(str(error)) from error
