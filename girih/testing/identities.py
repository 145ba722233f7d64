"""Who calls a server in memory: its tokens, and what calls carry beside them. Knows no log."""

import re
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import grpc

from girih.client.context import CAUSATION_KEY, CORRELATION_KEY
from girih.ids import new_correlation_id
from girih.testing.calls import Call
from girih.testing.refusals import Refused

TENANT: Final = "default"
ACTOR: Final = "user:tests"

_TOKEN_KEY: Final = "authorization"  # noqa: S105 - the name of a key of metadata
_well_formed = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII).fullmatch


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a token is of."""

    tenant: str
    actor: str
    scopes: frozenset[str] | None
    """What it allows; None for everything."""


class Identities:
    """The tokens that were given out. A token tells nothing but that it was."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, Identity] = {}
        self._expired: set[str] = set()
        self._generation = 0
        self._cut_count = 0

    def issue(self, tenant: str, actor: str, scopes: Collection[str] | None) -> str:
        token = new_correlation_id()
        allowed = None if scopes is None else frozenset(scopes)
        with self._lock:
            self._of[token] = Identity(tenant=tenant, actor=actor, scopes=allowed)
        return token

    def expire(self, token: str) -> None:
        with self._lock:
            self._expired.add(token)

    def end_streams(self) -> None:
        """Calls that were let in so far go on no longer."""
        with self._lock:
            self._generation += 1

    def cut_off(self) -> None:
        """Nobody waits for the calls that were let in so far."""
        with self._lock:
            self._cut_count += 1

    def admit(self, scope: str, context: grpc.ServicerContext) -> Call:
        """Raises Refused."""
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        token = metadata.get(_TOKEN_KEY, "").removeprefix("Bearer ")
        identity, generation = self._identity(token), self._generation
        cut_count = self._cut_count
        if identity.scopes is not None and scope not in identity.scopes:
            raise Refused("SCOPE_MISSING", f"the token lacks {scope}", {"scope": scope})

        def check_valid() -> None:
            self._identity(token)
            if self._generation != generation:
                raise Refused("SHUTTING_DOWN", "this process is going away", retry_after_s=0.0)

        def is_active() -> bool:
            return self._cut_count == cut_count and context.is_active()

        def on_end(function: Callable[[], None]) -> None:
            if not context.add_callback(function):
                function()

        correlation_id = _given(metadata, CORRELATION_KEY) or new_correlation_id()
        return Call(
            tenant=identity.tenant,
            actor=identity.actor,
            correlation_id=correlation_id,
            causation_id=_given(metadata, CAUSATION_KEY),
            check_valid=check_valid,
            is_active=is_active,
            on_end=on_end,
            accept=lambda: context.send_initial_metadata(((CORRELATION_KEY, correlation_id),)),
        )

    def _identity(self, token: str) -> Identity:
        with self._lock:
            identity, is_expired = self._of.get(token), token in self._expired
        if not token:
            raise Refused("TOKEN_REQUIRED", "the call carries no token")
        if identity is None:
            raise Refused("TOKEN_INVALID", "the token is not one of this server")
        if is_expired:
            raise Refused("TOKEN_EXPIRED", "the token has expired")
        return identity


def _given(metadata: dict[str, str], key: str) -> str:
    """An id that a call carries; empty for one that no event may have."""
    text = metadata.get(key, "")
    return text if _well_formed(text) else ""
