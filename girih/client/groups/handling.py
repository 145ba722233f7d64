"""What becomes of a message when its handler has returned or raised. Waits for nothing."""

from typing import Any, Final, TypeVar

from girih.client.context import CallContext
from girih.client.groups.in_flight import Message

_DELAY_S_MIN: Final = 1.0
_DELAY_S_MAX: Final = 60.0

M = TypeVar("M", bound=Message[Any])


class RetryLater(Exception):
    """Raised by a handler: the message is to be tried again after `delay` seconds."""

    def __init__(self, delay: float, reason: str = "") -> None:
        super().__init__(reason)
        self.delay = delay
        self.reason = reason


class Park(Exception):
    """Raised by a handler: the message is not to be tried again until somebody replays it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def context_of(message: Message[Any]) -> CallContext:
    """What calls carry that are made while a message is handled."""
    event = message.event
    return CallContext(correlation_id=event.correlation_id, causation_id=event.id)


def settle(message: Message[Any], error: Exception | None) -> None:
    """Say what became of a message, unless its handler has."""
    if not message.is_held:
        return
    if error is None:
        message.ack()
    elif isinstance(error, Park):
        message.park(error.reason)
    elif isinstance(error, RetryLater):
        message.retry(error.delay, error.reason)
    else:
        message.retry(_delay_s(message.attempt), f"{type(error).__name__}: {error}")


def _delay_s(attempt: int) -> float:
    """Twice as long after each attempt: 1 s to a minute."""
    return min(_DELAY_S_MAX, _DELAY_S_MIN * 2.0 ** min(attempt - 1, 10))
