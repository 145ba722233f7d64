"""What a consumer has and has not settled, and what it is to say: for both stacks of gRPC.

Decides over messages and the clock. Makes no call, and waits for nothing. Safe from many threads.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, Protocol, TypeVar

import grpc

from girih.client.errors import GirihError, LeaseLost, Refusal
from girih.client.events import RecordedEvent
from girih.client.groups.messages import duration, seconds
from girih.client.refusals import from_status
from girih.client.wire import recorded_event
from girih.events.v1 import groups_pb2 as pb

CREDITS: Final = 20
_POSITIONS_MAX: Final = 1_000
"""Of one acknowledgement."""
_REASON_CHARS_MAX: Final = 1_000
_DELAY_S_MAX: Final = 30 * 24 * 60 * 60.0
_ALIVE_PART: Final = 1 / 3
"""Of its lease, after which a consumer lets itself be heard again: it must within each half."""


class Outcome(Protocol):
    """A future, of either kind."""

    def set_result(self, result: Any, /) -> None: ...  # noqa: ANN401 - None

    def set_exception(self, exception: BaseException, /) -> None: ...

    def done(self) -> bool: ...


O = TypeVar("O", bound=Outcome)  # noqa: E741 - an outcome


class Message(Generic[O]):
    """An event to be handled. Say once what became of it: `ack`, `retry` or `park`.

    Each sends at once and answers a future, which may be waited for and need not be: it is done
    when that is durable, and otherwise raises. LeaseLost says that the event was given to somebody
    else, or will be: undo what can be undone.
    """

    def __init__(
        self, event: RecordedEvent, delivery: pb.Delivery, in_flight: "InFlight[O]"
    ) -> None:
        self.event: Final = event
        self.lane: Final = delivery.lane
        self.token: Final = delivery.token
        """The fencing token that it was delivered under: larger for each who is given the lane.
        What it is written to can refuse smaller ones."""
        self.attempt: Final = delivery.attempt
        """How often it was tried, this time included."""
        self._in_flight = in_flight

    @property
    def is_held(self) -> bool:
        """Nothing was said of it, and its lease is not known to be lost."""
        return self._in_flight.holds(self)

    def ack(self) -> O:
        """It is handled."""
        return self._in_flight.acknowledge(self)

    def retry(self, delay: float = 0.0, reason: str = "") -> O:
        """It is to be tried again after `delay` seconds at the earliest, here or elsewhere.

        Holds back the events of its stream, or of its key, and no others. The group may park it
        after so many attempts, with `reason`. Raises ValueError for more than 30 days.
        """
        check_delay(delay)
        request = pb.RetryLater(
            lane=self.lane,
            token=self.token,
            position=self.event.position,
            delay=duration(delay),
            reason=_sendable(reason),
        )
        return self._in_flight.settle(self, pb.ConsumeRequest(retry_later=request))

    def park(self, reason: str) -> O:
        """It is not to be tried again until somebody replays it."""
        request = pb.Park(
            lane=self.lane,
            token=self.token,
            position=self.event.position,
            reason=_sendable(reason),
        )
        return self._in_flight.settle(self, pb.ConsumeRequest(park=request))


def check_delay(delay: float) -> None:
    """Raises ValueError for what is longer than a group waits with a message."""
    if not 0.0 <= delay <= _DELAY_S_MAX:
        raise ValueError("delay must be from 0 to 30 days, in seconds")


def _sendable(reason: str) -> str:
    """What can be kept of a reason: it may be the words of any exception."""
    text = reason[:_REASON_CHARS_MAX].encode("utf-8", "replace").decode()
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


class InFlight(Generic[O]):
    """The messages of a consumer's call that are not settled, and its requests."""

    def __init__(
        self,
        start: pb.ConsumerStart,
        *,
        new_outcome: Callable[[], O],
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wake` is called when there is something to send."""
        self._start = start
        self._new_outcome = new_outcome
        self._wake = wake
        self._clock = clock
        self._lock = threading.RLock()
        self._acks: dict[tuple[int, int], list[int]] = {}
        """By lane and token."""
        self._others: list[pb.ConsumeRequest] = []
        self._begin()

    def _begin(self) -> None:
        self._held: dict[int, Message[O]] = {}
        """Of which nothing was said, by position."""
        self._unsettled: dict[int, O] = {}
        """Of which it is not known whether it is durable."""
        self._tokens: dict[int, int] = {}
        """Of the lanes that it has."""
        self._sent: dict[int, float] = {}
        """When each sign of life was sent that was not answered."""
        self._sign_count = 0
        self._lanes_seen = 0
        """How often it was told which lanes it has."""
        self._has_news = False
        """It has heard that these are others, and has not said so."""
        self._alive_at_s = 0.0
        self._lease_s = 0.0
        self._certain_until_s = 0.0

    def begin(self) -> pb.ConsumeRequest:
        """A call begins: what is sent first."""
        with self._lock:
            self._acks.clear()
            self._others.clear()
            self._begin()
            return pb.ConsumeRequest(start=self._start)

    def end(self, error: GirihError) -> None:
        """The call has ended, and with it what it had."""
        with self._lock:
            self._held.clear()
            unsettled, self._unsettled = self._unsettled, {}
        for outcome in unsettled.values():
            _fail(outcome, error)

    def take(self, response: pb.ConsumeResponse) -> list[Message[O]]:
        """What a response brings to be handled."""
        with self._lock:
            match response.WhichOneof("response"):
                case "started":
                    self._lease_s = seconds(response.started.lease)
                    self._wake()
                case "deliveries":
                    return self._taken(response.deliveries.deliveries)
                case "settled":
                    self._settle(response.settled.positions)
                case "refused":
                    self._refuse(response.refused)
                case "lanes":
                    self._hold(response.lanes.lanes)
                case "alive":
                    self._be_certain(response.alive)
            return []

    def requests(self) -> list[pb.ConsumeRequest]:
        """What is to be sent now."""
        with self._lock:
            requests = [*self._acknowledgements(), *self._others]
            self._acks.clear()
            self._others.clear()
            now_s = self._clock()
            if now_s >= self._next_sign_s():
                requests.append(self._sign(now_s))
            return requests

    def due_in_s(self) -> float | None:
        """After so long there is something to send, whatever happens; None before the start."""
        with self._lock:
            return max(0.0, self._next_sign_s() - self._clock()) if self._lease_s else None

    def holds(self, message: Message[O]) -> bool:
        with self._lock:
            return self._held.get(message.event.position) is message

    def is_certain(self) -> bool:
        """Whether its lanes are its own now, whoever else thinks so: then it may begin to handle
        what it holds."""
        with self._lock:
            return self._clock() < self._certain_until_s

    def acknowledge(self, message: Message[O]) -> O:
        with self._lock:
            outcome, is_ours = self._settling(message)
            if is_ours:
                of_lane = self._acks.setdefault((message.lane, message.token), [])
                of_lane.append(message.event.position)
                self._wake()
            return outcome

    def settle(self, message: Message[O], request: pb.ConsumeRequest) -> O:
        with self._lock:
            outcome, is_ours = self._settling(message)
            if is_ours:
                self._others.append(request)
                self._wake()
            return outcome

    def _settling(self, message: Message[O]) -> tuple[O, bool]:
        """The outcome of what is said of a message, and whether it may be said."""
        outcome = self._new_outcome()
        if not self.holds(message):
            _fail(outcome, _lost("the lease of the message is lost, or it was settled before"))
            return outcome, False
        position = message.event.position
        del self._held[position]
        self._unsettled[position] = outcome
        return outcome, True

    def _taken(self, deliveries: Iterable[pb.Delivery]) -> list[Message[O]]:
        messages = [Message(recorded_event(one.event, ""), one, self) for one in deliveries]
        self._held.update({message.event.position: message for message in messages})
        return messages

    def _settle(self, positions: Iterable[int]) -> None:
        for position in positions:
            outcome = self._unsettled.pop(position, None)
            if outcome is not None and not outcome.done():
                outcome.set_result(None)

    def _refuse(self, refused: pb.Refused) -> None:
        self._held.pop(refused.position, None)
        outcome = self._unsettled.pop(refused.position, None)
        if outcome is not None:
            _fail(outcome, from_status(refused.refusal))

    def _hold(self, lanes: Iterable[pb.HeldLane]) -> None:
        """Of what it was given under other tokens nothing may be said any more, nor begun. Others
        may wait to be told so."""
        self._lanes_seen += 1
        self._has_news = True
        self._wake()
        self._tokens = {one.lane: one.token for one in lanes}
        lost = [
            position
            for position, message in self._held.items()
            if self._tokens.get(message.lane) != message.token
        ]
        for position in lost:
            del self._held[position]

    def _be_certain(self, alive: pb.ServiceAlive) -> None:
        sent_s = self._sent.pop(alive.number, None)
        if sent_s is not None:
            until_s = sent_s + seconds(alive.valid)
            self._certain_until_s = max(self._certain_until_s, until_s)

    def _next_sign_s(self) -> float:
        """When a sign of life is due: once it has begun, and then within each half of the lease."""
        if not self._lease_s:
            return float("inf")
        if self._has_news:
            return 0.0
        return self._alive_at_s + self._lease_s * _ALIVE_PART if self._sign_count else 0.0

    def _sign(self, now_s: float) -> pb.ConsumeRequest:
        self._sign_count += 1
        self._sent[self._sign_count] = self._alive_at_s = now_s
        self._has_news = False
        alive = pb.ConsumerAlive(number=self._sign_count, lanes_seen=self._lanes_seen)
        return pb.ConsumeRequest(alive=alive)

    def _acknowledgements(self) -> Iterable[pb.ConsumeRequest]:
        for (lane, token), positions in self._acks.items():
            for first in range(0, len(positions), _POSITIONS_MAX):
                some = positions[first : first + _POSITIONS_MAX]
                acknowledge = pb.Acknowledge(lane=lane, token=token, positions=some)
                yield pb.ConsumeRequest(acknowledge=acknowledge)


def _lost(message: str) -> LeaseLost:
    code = grpc.StatusCode.ABORTED
    return LeaseLost(Refusal(code=code, message=message, reason="LEASE_LOST"))


def _fail(outcome: Outcome, error: GirihError) -> None:
    if outcome.done():
        return
    outcome.set_exception(error)
    if (look := getattr(outcome, "exception", None)) is not None:
        look()  # whoever does not wait for it is not told by the loop
