"""What becomes of a message when its handler has returned or raised. Waits for nothing."""

from typing import Any, Final, TypeVar

from girih.client.context import CallContext
from girih.client.groups.in_flight import Message, check_delay

_DELAY_S_MIN: Final = 1.0
_DELAY_S_MAX: Final = 60.0

M = TypeVar("M", bound=Message[Any])


class RetryLater(Exception):
    """Raised by a handler: the message is to be tried again after `delay` seconds.

    Raises ValueError for more than 30 days, which is then what the handler raises.
    """

    def __init__(self, delay: float, reason: object = "") -> None:
        check_delay(delay)
        super().__init__(reason)
        self.delay = delay
        self.reason = _words(reason)


class Park(Exception):
    """Raised by a handler: the message is not to be tried again until somebody replays it."""

    def __init__(self, reason: object) -> None:
        super().__init__(reason)
        self.reason = _words(reason)


def context_of(message: Message[Any]) -> CallContext:
    """What calls carry that are made while a message is handled."""
    event = message.event
    return CallContext(correlation_id=event.correlation_id, causation_id=event.id)


def settle(message: Message[Any], error: BaseException | None) -> None:
    """Say what became of a message, unless its handler has.

    Raises nothing: of what nothing is said its stream waits for as long as the consumer lives.
    """
    if not message.is_held:
        return
    if error is None:
        message.ack()
    elif isinstance(error, Park):
        message.park(error.reason)
    elif isinstance(error, RetryLater):
        message.retry(error.delay, error.reason)
    else:
        message.retry(_delay_s(message.attempt), f"{type(error).__name__}: {_words(error)}")


def _words(reason: object) -> str:
    """A reason as text, also where it is an error that has none of its own."""
    try:
        return str(reason)
    except Exception:  # noqa: BLE001 - whatever the code of a user raises
        return type(reason).__name__


def _delay_s(attempt: int) -> float:
    """Twice as long after each attempt: 1 s to a minute."""
    return min(_DELAY_S_MAX, _DELAY_S_MIN * 2.0 ** min(attempt - 1, 10))
