"""What a search leaves is used by the next on the same lattice, within bounded memory."""

import pytest

from services.lattice.computing.held_lattice import grid_of
from services.lattice.computing.search_pool import SearchPool
from services.lattice.kernels.grid import Grid
from tests.lattice.worlds import blocked_spec, geometry


def grid(seed: int = 1) -> Grid:
    return grid_of(blocked_spec(geometry(32, 32), 0.3, seed))


def test_the_next_search_on_a_lattice_uses_the_memory_of_the_last() -> None:
    searches, expected = SearchPool(1 << 20), grid()

    with searches.on(expected) as first:
        pass
    with searches.on(expected) as second:
        pass

    assert first is second


def test_two_searches_at_once_share_nothing() -> None:
    searches, expected = SearchPool(1 << 20), grid()

    with searches.on(expected) as first, searches.on(expected) as second:
        assert first is not second


def test_no_more_is_kept_than_the_bytes_given() -> None:
    searches = SearchPool(100_000)

    for seed in range(20):
        with searches.on(grid(seed)):
            pass
        assert searches.bytes_held <= 100_000


def test_what_is_dropped_is_not_kept() -> None:
    searches, expected = SearchPool(1 << 20), grid()
    with searches.on(expected) as first:
        pass

    searches.drop(expected)

    assert searches.bytes_held == 0
    with searches.on(expected) as second:
        assert first is not second


def test_a_search_that_failed_is_not_used_again() -> None:
    searches, expected = SearchPool(1 << 20), grid()

    with pytest.raises(ZeroDivisionError), searches.on(expected):
        raise ZeroDivisionError

    assert searches.bytes_held == 0
