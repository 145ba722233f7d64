"""What the proofs that last see."""

from tests.chaos.lasting.soak import growth_of

MIB = [100.0, 103.0, 98.0, 101.0, 104.0, 97.0, 100.0, 102.0]


def test_memory_that_goes_up_and_down_does_not_grow() -> None:
    growth_mib, _ = growth_of([(5.0 * at, mib) for at, mib in enumerate(MIB)])

    assert abs(growth_mib) < 3


def test_memory_that_grows_is_seen_with_its_slope() -> None:
    growth_mib, per_hour_mib = growth_of([(36.0 * at, 100.0 + at) for at in range(100)])

    assert growth_mib == 75
    assert round(per_hour_mib) == 100
