"""What the machine chooses from: few names, so that they meet, and what goes with them."""

from typing import Any

from hypothesis import strategies as st

from tests.events.model.oracle import DAY_S
from tests.events.model.values import Query, Retention

STREAMS = ("a", "a-1", "a-2", "b-1", "b-1-x")
TYPES = ("x", "y", "z")
CALLS = ("call-1", "call-2")
TAGS = ((), ("r",), ("s",), ("r", "s"), ("s", "r", "t"))
PAYLOADS: tuple[dict[str, Any], ...] = (
    {"json": '{"n": 1}'},
    {"json": '{"n":2,"m":"two"}'},
    {"json": '{"n":3,"m":"three","l":0}', "version": 1},
    {"json": '{"n":4,"m":"four"}', "version": 2},
    {"json": '{"n": "five"}', "version": 1},
    {},
    {"binary": b"\x00six", "content_type": "a/b"},
    {"json": "7", "metadata": (("k", "v"),)},
)

FILLING = 70
"""Events that some sequences begin with, so that they do not lie in one block of labels."""

streams = st.sampled_from(STREAMS)
replicas = st.sampled_from((0, 1))
queries = st.sampled_from(
    (
        Query(types=("x",)),
        Query(types=("x", "z")),
        Query(tags=("r",)),
        Query(tags=("s", "r")),
        Query(tags=("t",), types=("y", "z")),
        Query(tags=("nobody",)),
        Query(prefix="a-"),
        Query(prefix="b-1", types=("y",)),
        Query(category="a"),
        Query(category="b", tags=("s",)),
        Query(category="$streams"),
        Query(correlation_id="call-1"),
        Query(correlation_id="call-2", category="a"),
        Query(types=("deleted", "redacted")),
    )
)
filters = st.lists(queries, min_size=1, max_size=2, unique=True).map(tuple)
drafts = st.tuples(streams, st.sampled_from(TYPES), st.sampled_from(TAGS), st.integers(0, 7))
repeats = st.sampled_from(("new", "new", "new", "new", "same", "other"))
"""Whether an event is a new one, one that is there, or has the id of one that is there."""
MISSING = 40
places = st.integers(0, MISSING)
"""Taken by the length of what it is a place in; the last may mean none that is there."""
wishes = st.tuples(st.sampled_from(("revision", "absent", "exists", "no_match")), streams, places)
retentions = st.builds(
    Retention,
    st.sampled_from((None, None, DAY_S // 2, 3 * DAY_S // 2)),
    st.sampled_from((None, None, 1, 3)),
    st.sampled_from((None, None, 0, 1, 2, 9)),
)
