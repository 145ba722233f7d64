"""Who calls, on whose behalf and how patiently: what calls of both stacks of gRPC have in common.

Knows no rpc, and waits for nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from girih.client.context import CallContext, ContextSource
from girih.client.errors import GirihError, Unauthenticated
from girih.client.retry import Attempts, Resumption, RetryPolicy
from girih.client.tokens import RenewedToken, Token
from girih.credentials import is_sendable

Metadata = tuple[tuple[str, str], ...]

_TOKEN_KEY = "authorization"  # noqa: S105 - the name of a key of metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls. See `girih.client.calls` and `girih.client.blocking.calls` for how."""

    token: Token
    context: ContextSource
    retry: RetryPolicy

    @property
    def renews_token(self) -> bool:
        """Whether asking again may give another token."""
        return not self.token or not isinstance(self.token, str)

    def acting(
        self,
        *,
        token: Token | None,
        correlation_id: str,
        causation_id: str,
        retry: RetryPolicy | None,
    ) -> "Caller":
        """The same but for what is given; ids that are empty stay those of the context."""
        inherited = self.context

        def context() -> CallContext:
            outer = inherited()
            return replace(
                outer,
                correlation_id=correlation_id or outer.correlation_id,
                causation_id=causation_id or outer.causation_id,
            )

        return Caller(
            token=self.token if token is None else token,
            context=context if correlation_id or causation_id else inherited,
            retry=retry or self.retry,
        )

    def with_whole_attempts(self) -> "Caller":
        """The same for calls that compute: an attempt may take as long as the call."""
        return replace(self, retry=replace(self.retry, attempt_timeout_s=None))

    def noting_retries(self) -> tuple["Caller", Callable[[], bool]]:
        """The same for one call, and whether it was made more than once."""
        errors: list[GirihError] = []
        user_hook = self.retry.on_retry

        def on_retry(error: GirihError) -> None:
            errors.append(error)
            if user_hook is not None:
                user_hook(error)

        return replace(self, retry=replace(self.retry, on_retry=on_retry)), lambda: bool(errors)

    def attempts(self, context: CallContext, timeout: float | None = None) -> Attempts:
        """At a call that may take `timeout` seconds; None: as long as the policy says."""
        retry = self.retry.within(timeout)
        return Attempts(retry, context.remaining_s(), renews_token=self.renews_token)

    def resumption(self) -> Resumption:
        return Resumption(self.retry, renews_token=self.renews_token)

    def note(self, error: GirihError, metadata: Metadata) -> None:
        """See how a call ended that was made with `metadata`: a token that was refused is not
        sent again, whatever its clock says."""
        if isinstance(error, Unauthenticated) and isinstance(self.token, RenewedToken):
            self.token.refused(dict(metadata).get(_TOKEN_KEY, "").removeprefix("Bearer "))


def with_token(metadata: Metadata, token: object) -> Metadata:
    """What a call carries. Raises TypeError and ValueError for what is no token: gRPC would say
    nothing that its user understands, or send the call without."""
    if not isinstance(token, str):
        raise TypeError("token must be a text, or a function that gives one")
    if not is_sendable(token):
        raise ValueError("token must be printable ASCII without spaces")
    return (*metadata, (_TOKEN_KEY, f"Bearer {token}")) if token else metadata
