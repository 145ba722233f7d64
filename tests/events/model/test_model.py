"""The service answers what a model of a log answers that shares no code with it."""

import pytest

from cli.local.postgres import EmbeddedPostgres
from tests.authority import Authority
from tests.events.model.checking import check
from tests.events.model.faults import FAULTS

SEQUENCES = 150
"""Of the 10,000 of `python -m tests.events.model`. What is planted is found by the twentieth."""
SEEDS = {"miscounted": 2}
"""With 1, as for others, it takes hundreds of sequences to find it."""

pytestmark = pytest.mark.timeout(900)


def test_whatever_is_asked_of_a_log_the_model_answers_the_same(
    postgres: EmbeddedPostgres, authority: Authority
) -> None:
    check(postgres, authority, SEQUENCES)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_model_finds_a_mistake_that_was_planted(
    postgres: EmbeddedPostgres, authority: Authority, fault: str
) -> None:
    with pytest.raises(AssertionError):
        check(postgres, authority, SEQUENCES, fault=fault, chosen=SEEDS.get(fault, 1))
