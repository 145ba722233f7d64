"""Who waits for some events is woken by these, and by none that it has looked at itself."""

from girih.ids import Position, StreamName
from services.events.matching.queries import Filter, Labels, Query
from services.events.reading.subscriptions import Subscription, Subscriptions

WANTED = Filter((Query(types=frozenset(("wanted",))), Query(stream_prefix="s")))


def labels(event_type: str, stream: str = "other") -> Labels:
    return Labels(StreamName(stream), event_type, (), "c")


async def waiting(since: int, reported: int | None = None) -> tuple[Subscriptions, Subscription]:
    subscriptions = Subscriptions()
    one = Subscription(WANTED, Position(since), None if reported is None else Position(reported))
    subscriptions.add(one)
    return subscriptions, one


async def test_an_event_wakes_those_whom_it_is_for() -> None:
    subscriptions, one = await waiting(5)

    assert not subscriptions.appended(labels("else"), Position(5))
    assert subscriptions.appended(labels("else", "s-1"), Position(6))
    assert one.future.result() == 6
    assert not subscriptions.appended(labels("wanted"), Position(7))


async def test_nobody_is_woken_by_what_it_has_looked_at() -> None:
    subscriptions, one = await waiting(5)

    assert not subscriptions.appended(labels("wanted"), Position(4))
    assert subscriptions.appended(labels("wanted"), Position(5))
    assert one.future.result() == 5


async def test_who_cares_is_told_no_less_than_it_has_looked_at() -> None:
    subscriptions, one = await waiting(5, reported=3)
    subscriptions.passed(Position(4))
    assert one.future.result() == 5

    subscriptions, one = await waiting(5, reported=5)
    subscriptions.passed(Position(4))
    assert not one.future.done()
    subscriptions.passed(Position(9), least=5)
    assert not one.future.done()
    subscriptions.passed(Position(9), least=4)
    assert one.future.result() == 9


async def test_who_does_not_care_is_left_alone() -> None:
    subscriptions, one = await waiting(5)
    subscriptions.passed(Position(100))

    assert not one.future.done()
    assert len(subscriptions) == 1
