"""Which events a filter means: as the plainest words of the contract have it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from girih.events.v1 import events_pb2 as pb
from girih.ids import StreamName
from services.events import convert
from services.events.matching.queries import Labels, Query, category_of
from services.plumbing.errors import InvalidInput

TEXTS = ("a", "a-1", "a-1-x", "ab", "b-1", "$a-1")
ABOUT = st.sampled_from(TEXTS)
LABELS = st.builds(
    Labels,
    stream=ABOUT.map(StreamName),
    type=ABOUT,
    tags=st.lists(ABOUT, max_size=4, unique=True),
    correlation_id=ABOUT,
)
QUERIES = st.builds(
    pb.Query,
    types=st.lists(ABOUT, max_size=2, unique=True),
    tags=st.lists(ABOUT, max_size=2, unique=True),
    stream_prefix=st.sampled_from(("", "a", "a-", "$")),
    category=st.sampled_from(("", "a", "ab", "$a")),
    correlation_id=st.sampled_from(("", "a", "b-1")),
).filter(lambda query: query.ByteSize() > 0)


def means(query: pb.Query, labels: Labels) -> bool:
    """As plain as it gets."""
    if query.types and not [one for one in query.types if one == labels.type]:
        return False
    if [tag for tag in query.tags if tag not in list(labels.tags)]:
        return False
    if labels.stream[: len(query.stream_prefix)] != query.stream_prefix:
        return False
    if query.category and labels.stream.split("-")[0] != query.category:
        return False
    return query.correlation_id in ("", labels.correlation_id)


@settings(max_examples=300, deadline=None)
@given(queries=st.lists(QUERIES, min_size=1, max_size=4), labels=LABELS)
def test_a_filter_means_what_one_of_its_queries_means(
    queries: list[pb.Query], labels: Labels
) -> None:
    made = convert.event_filter(pb.Filter(queries=queries))

    assert made.matches(labels) == any(means(query, labels) for query in queries)


def test_a_category_ends_before_the_first_hyphen() -> None:
    assert [category_of(name) for name in ("permit-1-2", "permit", "$lattice-1")] == [
        "permit",
        "permit",
        "$lattice",
    ]


def test_the_same_tag_in_another_order_is_the_same_query() -> None:
    assert Query(tags=frozenset(("a", "b"))) == Query(tags=frozenset(("b", "a")))


BAD_FILTERS = {
    "no query": (pb.Filter(), "filter.queries"),
    "17 queries": (pb.Filter(queries=[pb.Query(types=["a"])] * 17), "filter.queries"),
    "a query without a part": (pb.Filter(queries=[pb.Query()]), "filter.queries[0]"),
    "an empty type": (pb.Filter(queries=[pb.Query(types=[""])]), "filter.queries[0].types[0]"),
    "a type twice": (pb.Filter(queries=[pb.Query(types=["a", "a"])]), "filter.queries[0].types[1]"),
    "65 types": (
        pb.Filter(queries=[pb.Query(types=[str(number) for number in range(65)])]),
        "filter.queries[0].types",
    ),
    "33 tags": (
        pb.Filter(queries=[pb.Query(tags=[str(number) for number in range(33)])]),
        "filter.queries[0].tags",
    ),
    "a tag with a newline": (
        pb.Filter(queries=[pb.Query(types=["a"]), pb.Query(tags=["a\n"])]),
        "filter.queries[1].tags[0]",
    ),
    "a prefix that no name has": (
        pb.Filter(queries=[pb.Query(stream_prefix="a b")]),
        "filter.queries[0].stream_prefix",
    ),
    "a category with a hyphen": (
        pb.Filter(queries=[pb.Query(category="a-b")]),
        "filter.queries[0].category",
    ),
    "a correlation id of 65 characters": (
        pb.Filter(queries=[pb.Query(correlation_id="c" * 65)]),
        "filter.queries[0].correlation_id",
    ),
}


@pytest.mark.parametrize("name", BAD_FILTERS)
def test_a_bad_filter_names_its_field(name: str) -> None:
    asked, field = BAD_FILTERS[name]

    with pytest.raises(InvalidInput) as caught:
        convert.options(pb.ReadRequest(filter=asked))

    assert [violation.field for violation in caught.value.violations] == [field]
