"""A lane delivers each key in order, loses nothing, and its checkpoint passes what is held."""

import random
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from girih.ids import Position, StreamName
from services.events.errors import EventNotDelivered
from services.events.lanes.group import (
    ClaimedLane,
    Cut,
    GroupSettings,
    HeldEvent,
    HeldState,
    Key,
    LaneChange,
    hash_of,
    key_of,
)
from services.events.lanes.lane import BEYOND_COUNT_MAX, Lane
from services.events.matching.queries import Filter, Labels, Query

A, B = Key("a"), Key("b")


def lane(checkpoint: int = 0, **known: Any) -> Lane:
    settings = known.pop("settings", GroupSettings(1))
    return Lane(ClaimedLane(0, 1, Position(checkpoint), **known), settings)


def take(lane: Lane, *keys: Key, begin: int = 1) -> None:
    """Events of these keys, one behind the other."""
    for offset, key in enumerate(keys):
        lane.take(Position(begin + offset), key, labels(key), b"event")


def labels(key: Key) -> Labels:
    return Labels(StreamName(key), "happened", (), "c")


def delivered(lane: Lane) -> list[int]:
    """All that can be delivered now."""
    order: list[int] = []
    while (entry := lane.deliver()) is not None:
        order.append(entry.position)
    return order


def write(lane: Lane) -> LaneChange:
    change = lane.take_change(0.0)
    lane.written(change)
    return change


def fetch(lane: Lane, now_s: float = 0.0) -> None:
    """Have all held events here that are due."""
    for held in lane.due(now_s, 100):
        lane.fetching(held)
        lane.fetched(held, b"event")


def test_of_each_key_one_event_is_under_way() -> None:
    one = lane()
    take(one, A, A, B, A, B)

    assert delivered(one) == [1, 3]


def test_the_next_of_a_key_comes_when_the_one_before_is_durable() -> None:
    one = lane()
    take(one, A, A)
    delivered(one)
    one.acknowledge(Position(1))
    before = delivered(one)

    write(one)

    assert before == []
    assert delivered(one) == [2]


def test_what_is_read_again_for_another_lane_does_not_take_the_incarnation_back() -> None:
    one = lane(checkpoint=9, incarnation="new")
    one.read_up_to(Position(5), "old")

    before = write(one)
    one.read_up_to(Position(12), "newer")

    assert (before.checkpoint, before.incarnation) == (9, "new")
    assert (write(one).checkpoint, one.incarnation) == (12, "newer")


def test_the_checkpoint_stays_before_what_is_not_settled() -> None:
    one = lane()
    take(one, A, B, Key("c"))
    delivered(one)
    one.acknowledge(Position(1))
    one.acknowledge(Position(3))

    change = write(one)

    assert change.checkpoint == 1
    assert change.acked == [3]


def test_what_was_acknowledged_beyond_the_checkpoint_does_not_come_again() -> None:
    one = lane(1, acked=[Position(3)])
    take(one, B, A, A, begin=2)

    assert delivered(one) == [2, 4]


def test_what_is_tried_again_holds_back_its_key_alone() -> None:
    one = lane()
    take(one, A, A, B)
    delivered(one)
    one.retry_later(Position(1), 0.0, 60.0, "later")
    change = write(one)
    take(one, A, B, begin=4)
    one.acknowledge(Position(3))
    write(one)

    assert [(held.position, held.state) for held in change.held] == [
        (1, HeldState.RETRY),
        (2, HeldState.WAITING),
    ]
    assert one.checkpoint == 4
    assert delivered(one) == [5]


def test_held_events_come_in_order_when_they_are_due() -> None:
    one = lane()
    take(one, A, A, A)
    delivered(one)
    one.retry_later(Position(1), 0.0, 60.0, "later")
    write(one)
    fetch(one, 59.0)
    early = delivered(one)
    order = []
    for _ in range(3):
        fetch(one, 60.0)
        for position in delivered(one):
            order.append(position)
            one.acknowledge(Position(position))
        write(one)

    assert early == []
    assert order == [1, 2, 3]
    take(one, A, begin=4)
    assert delivered(one) == [4]


def test_an_event_is_parked_after_so_many_attempts() -> None:
    one = lane(settings=GroupSettings(1, attempt_count_max=2))
    take(one, A, A)
    delivered(one)
    one.retry_later(Position(1), 0.0, 0.0, "first")
    write(one)
    fetch(one)
    delivered(one)
    one.retry_later(Position(1), 0.0, 0.0, "second")

    change = write(one)

    [parked] = change.held
    assert (parked.state, parked.attempt_count, parked.reason) == (HeldState.PARKED, 2, "second")
    fetch(one)
    assert delivered(one) == []


def test_a_group_may_let_the_rest_of_a_key_pass_a_parked_event() -> None:
    one = lane(settings=GroupSettings(1, passes_parked=True))
    take(one, A, A)
    delivered(one)
    one.park(Position(1), "bad")
    write(one)

    assert delivered(one) == [2]


def test_a_parked_event_that_was_held_lets_the_rest_pass_too() -> None:
    one = lane(settings=GroupSettings(1, passes_parked=True))
    take(one, A, A)
    delivered(one)
    one.retry_later(Position(1), 0.0, 0.0, "")
    write(one)
    fetch(one)
    delivered(one)
    one.park(Position(1), "bad")
    write(one)
    fetch(one)

    assert delivered(one) == [2]


def test_a_held_event_that_is_gone_is_settled() -> None:
    held = HeldEvent(Position(3), A, HeldState.RETRY, 1, 0.0)
    behind = HeldEvent(Position(4), A, HeldState.WAITING, 0, 0.0)
    one = lane(5, held=[held, behind])
    [due] = one.due(0.0, 10)
    one.fetching(due)
    one.fetched(due, None)
    change = write(one)

    assert change.freed == [3]
    assert [due.position for due in one.due(0.0, 10)] == [4]


def test_what_was_held_beyond_the_checkpoint_does_not_come_again_once_it_is_settled() -> None:
    held = HeldEvent(Position(7), A, HeldState.RETRY, 1, 0.0)
    one = lane(2, held=[held])
    take(one, B, begin=3)
    fetch(one)
    assert sorted(delivered(one)) == [3, 7]
    one.acknowledge(Position(7))

    change = write(one)

    assert change.freed == [7]
    assert 7 in change.acked


def test_what_was_not_delivered_cannot_be_settled() -> None:
    one = lane()
    take(one, A, A)
    delivered(one)

    for position in (2, 9):
        with pytest.raises(EventNotDelivered):
            one.acknowledge(Position(position))


def test_what_is_settled_cannot_be_settled_again() -> None:
    one = lane()
    take(one, A)
    delivered(one)
    one.acknowledge(Position(1))

    with pytest.raises(EventNotDelivered):
        one.park(Position(1), "")


def test_what_could_not_be_written_is_part_of_the_next_change() -> None:
    one = lane()
    take(one, A, B)
    delivered(one)
    one.retry_later(Position(1), 0.0, 5.0, "later")
    one.take_change(0.0)
    one.acknowledge(Position(2))

    change = one.take_change(0.0)

    assert [held.position for held in change.held] == [1]
    assert change.settled == [1, 2]


def test_nothing_is_delivered_of_a_lane_that_is_to_go() -> None:
    one = lane()
    take(one, A, B)
    one.deliver()
    one.is_draining = True

    assert delivered(one) == []
    assert not one.is_drained
    one.acknowledge(Position(1))
    assert not one.is_drained
    write(one)
    assert one.is_drained


def test_what_was_settled_before_lanes_were_cut_anew_does_not_come_again() -> None:
    keys = [Key(f"s{number}") for number in range(20)]
    checkpoints = [Position(10), Position(4), Position(15)]
    cut = Cut(Position(15), checkpoints, frozenset([Position(12)]), "")
    settled = {
        position
        for position, key in enumerate(keys, 1)
        if position <= checkpoints[hash_of(key) % 3] or position == 12
    }
    one = lane(4, cuts=[cut])
    take(one, *keys[4:], begin=5)

    assert sorted(delivered(one)) == sorted(set(range(5, 21)) - settled)


def test_what_nobody_wanted_before_lanes_were_cut_anew_does_not_come_late() -> None:
    wanted = Filter((Query(stream_prefix="a"),))
    one = lane(
        1, cuts=[Cut(Position(4), [Position(1)], frozenset([Position(4)]), "", None, wanted)]
    )
    take(one, B, A, A, B, begin=2)

    assert delivered(one) == [3, 5]


def test_a_lane_reads_no_further_when_too_much_waits_apart() -> None:
    one = lane(settings=GroupSettings(1, held_count_max=2))
    take(one, A, A, A)
    delivered(one)
    one.park(Position(1), "")

    assert one.is_full


def test_a_lane_reads_no_further_when_too_much_is_settled_beyond_its_checkpoint() -> None:
    one = lane()
    take(one, *(Key(f"s{number}") for number in range(BEYOND_COUNT_MAX + 1)))
    for position in delivered(one)[1:]:
        one.acknowledge(Position(position))

    assert one.is_full
    one.acknowledge(Position(1))
    write(one)
    assert not one.is_full


def test_the_first_tag_with_the_prefix_is_the_key() -> None:
    tags = ["x", "order:2", "order:1"]

    assert key_of("s", tags, "order:") == "order:1"
    assert key_of("s", tags, "case:") == "s"
    assert key_of("s", tags, "") == "s"


class Written:
    """What is durable of a lane, and what consumers know to be settled."""

    def __init__(self) -> None:
        self.known = ClaimedLane(0, 1, Position(0))
        self.order: dict[Key, list[int]] = defaultdict(list)

    def write(self, led: Lane, log: list[Key], now_s: float) -> None:
        change = led.take_change(now_s)
        led.written(change)
        rows = {held.position: held for held in self.known.held}
        rows |= {held.position: replace(held, due_s=0.0) for held in change.held}
        for position in change.freed:
            rows.pop(position, None)
        for position in set(change.settled) - rows.keys():
            self.order[log[position - 1]].append(position)
        self.known = ClaimedLane(0, 1, change.checkpoint, change.acked, held=list(rows.values()))


@pytest.mark.parametrize("seed", range(40))
def test_whoever_leads_it_and_whatever_is_lost_all_come_once_and_in_order(seed: int) -> None:
    chance, now_s = random.Random(seed), 0.0
    log = [Key(f"s{chance.randrange(8)}") for _ in range(200)]
    written = Written()

    def handle(led: Lane, rate: float) -> None:
        fetch(led, now_s)
        for position in delivered(led):
            if chance.random() < rate:
                led.acknowledge(Position(position))
            elif chance.random() < 0.7:
                led.retry_later(Position(position), now_s, 20 * chance.random(), "")

    for rate in (0.3, 0.5, 0.7, 1.0):
        # Another leads it from what is written, as after a crash; what is not written is lost.
        led = Lane(written.known, GroupSettings(1))
        for number in range(written.known.checkpoint + 1, len(log) + 1):
            led.take(Position(number), log[number - 1], labels(log[number - 1]), b"event")
            now_s += 1.0
            handle(led, rate)
            if chance.random() < 0.5:
                written.write(led, log, now_s)
            if rate < 1.0 and chance.random() < 0.01:
                break
    while sum(map(len, written.order.values())) < len(log):
        now_s += 1.0
        handle(led, 1.0)
        written.write(led, log, now_s)

    assert {key: sorted(order) for key, order in written.order.items()} == written.order
    assert sorted(at for order in written.order.values() for at in order) == list(range(1, 201))
