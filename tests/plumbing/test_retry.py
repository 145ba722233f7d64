"""Pauses grow, stay within their bounds, and differ."""

import random

import pytest

from girih.backoff import Backoff


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pause is as long as it may be."""
    monkeypatch.setattr(random, "uniform", lambda _least, most: most)


@pytest.mark.usefixtures("longest")
def test_each_pause_is_twice_the_one_before_up_to_the_longest() -> None:
    backoff = Backoff(0.1, 1.0)

    assert [backoff.next_s() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_pauses_differ_within_half_of_what_they_may_be() -> None:
    pauses_s = [Backoff(1.0, 8.0).next_s() for _ in range(100)]

    assert 0.5 <= min(pauses_s) < max(pauses_s) <= 1.0


@pytest.mark.usefixtures("longest")
def test_progress_begins_with_the_shortest_again() -> None:
    backoff = Backoff(0.1, 1.0)
    for _ in range(3):
        backoff.next_s()

    backoff.reset()

    assert (backoff.count, backoff.next_s()) == (0, 0.1)


def test_a_pause_is_as_long_as_was_asked_for_and_differs_all_the_same() -> None:
    pauses_s = [Backoff(0.1, 1.0).next_s(asked_s=8.0) for _ in range(100)]

    assert 8.0 <= min(pauses_s) < max(pauses_s) <= 10.0


def test_a_thousand_pauses_are_no_overflow() -> None:
    backoff = Backoff(0.1, 1.0)

    assert all(backoff.next_s() <= 1.0 for _ in range(2_000))
