"""What one request caused, as a tree, from the table to the wire."""

from hypothesis import given, settings
from hypothesis import strategies as st

from girih.ids import Position, StreamName
from services.events.reading.traces import tree
from services.events.store import Cause, TraceRow
from tests.events.making import event_id


@settings(max_examples=200, deadline=None)
@given(causes=st.lists(st.integers(0, 12), max_size=12))
def test_a_tree_has_each_event_once_right_below_its_cause(causes: list[int]) -> None:
    """Event number n names the event of the number at n as its cause."""
    numbers = range(1, len(causes) + 1)
    rows = [TraceRow(Position(one), event_id(one), b"%d" % one) for one in numbers]
    stored = {event_id(one): Cause(Position(one), "c", StreamName("s"), "t") for one in numbers}

    events = list(tree(rows, list(map(event_id, causes)), stored))

    above: list[int] = []
    for event in events:
        position = int(event.header)
        cause = causes[position - 1]
        del above[event.depth :]
        assert (above[-1] if above else 0) == (cause if cause < position else 0)
        above.append(position)
    assert sorted(int(event.header) for event in events) == list(numbers)
