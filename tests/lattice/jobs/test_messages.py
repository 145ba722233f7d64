"""What jobs are told as."""

import math

import pytest

from services.lattice.jobs.domain import Progress
from services.lattice.jobs.messages import progress_from_proto, progress_to_proto
from services.lattice.simulations.series import Summary


def test_what_is_no_number_is_not_told() -> None:
    summary = Summary("return_step", 1, math.nan, math.nan, math.nan)

    message = progress_to_proto(Progress(observables=(summary,)))

    (observable,) = message.observables
    assert [observable.HasField(name) for name in ("last", "mean", "error")] == [False] * 3
    (read,) = progress_from_proto(message).observables
    assert math.isnan(read.last)
    assert math.isnan(read.mean)
    assert math.isnan(read.error)


def test_what_is_a_number_is_told() -> None:
    summary = Summary("energy", 2, -1.0, -1.5, 0.5)

    message = progress_to_proto(Progress(observables=(summary,)))

    assert progress_from_proto(message).observables == (summary,)
    assert message.observables[0].mean == pytest.approx(-1.5)
