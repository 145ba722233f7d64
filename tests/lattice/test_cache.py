"""The cache keeps to its bytes and drops what was used longest ago."""

from services.lattice.state.cache import ByteCache


def test_what_was_used_longest_ago_leaves_first() -> None:
    cache = ByteCache[str, int](bytes_max=2)
    cache.put("a", 1, 1)
    cache.put("b", 2, 1)
    cache.get("a")

    cache.put("c", 3, 1)

    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)


def test_more_than_its_bytes_are_never_held() -> None:
    cache = ByteCache[int, int](bytes_max=100)

    for n in range(50):
        cache.put(n, n, 7 + n % 13)
        assert cache.bytes_held <= 100


def test_a_value_larger_than_all_of_it_is_not_kept_and_drops_nothing() -> None:
    cache = ByteCache[str, int](bytes_max=2)
    cache.put("a", 1, 2)

    cache.put("b", 2, 3)

    assert (cache.get("a"), cache.get("b")) == (1, None)


def test_a_value_put_again_counts_once() -> None:
    cache = ByteCache[str, int](bytes_max=10)
    cache.put("a", 1, 6)

    cache.put("a", 2, 4)

    assert (cache.bytes_held, cache.get("a")) == (4, 2)


def test_what_is_dropped_gives_its_bytes_back() -> None:
    cache = ByteCache[str, int](bytes_max=10)
    cache.put("a", 1, 6)

    cache.drop("a")
    cache.drop("a")

    assert (cache.bytes_held, len(cache)) == (0, 0)


def test_a_look_is_no_use() -> None:
    cache = ByteCache[str, int](bytes_max=2)
    cache.put("a", 1, 1)
    cache.put("b", 2, 1)

    assert (cache.peek("a"), cache.peek("x")) == (1, None)
    cache.put("c", 3, 1)

    assert (cache.peek("a"), cache.peek("b"), cache.hits) == (None, 2, 0)
