"""The judge of measured numbers, where the verdict is known."""

import random

import pytest

from tests.acceptance.measures import Separation, quantile


def test_lists_that_do_not_overlap_tell_everything() -> None:
    result = Separation.of([4.0, 5.0, 6.0], [1.0, 2.0, 3.0])
    assert result.auc == 1.0
    assert Separation.of([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]).auc == 0.0


def test_one_and_the_same_number_tells_nothing() -> None:
    assert Separation.of([7.0] * 5, [7.0] * 9) == Separation(auc=0.5, p=1.0)


def test_the_area_is_the_share_of_pairs_that_the_first_list_wins() -> None:
    dice = random.Random(3)
    first = [float(dice.randrange(20)) for _ in range(40)]
    second = [float(dice.randrange(25)) for _ in range(60)]
    won = sum((a > b) + (a == b) / 2 for a in first for b in second)
    assert Separation.of(first, second).auc == pytest.approx(won / (40 * 60))


def test_lists_of_one_kind_are_found_different_as_often_as_chance_has_it() -> None:
    dice = random.Random(5)

    def drawn() -> list[float]:
        return [dice.gauss(0, 1) for _ in range(50)]

    surprises = sum(Separation.of(drawn(), drawn()).p < 0.05 for _ in range(1_000))
    assert 30 <= surprises <= 70


def test_a_small_shift_is_found_in_many_numbers() -> None:
    dice = random.Random(7)
    slow = [dice.gauss(0.3, 1) for _ in range(500)]
    fast = [dice.gauss(0, 1) for _ in range(500)]
    result = Separation.of(slow, fast)
    assert result.p < 0.001
    assert 0.55 < result.auc < 0.65


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert quantile([4.0], 0.99) == 4.0
