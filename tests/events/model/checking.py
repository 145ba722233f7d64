"""Runs sequences of the machine on two replicas, with a mistake in their database or without."""

from collections.abc import Callable

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from cli.local.postgres import EmbeddedPostgres
from tests.authority import Authority
from tests.events.model.faults import FAULTS
from tests.events.model.machine import machine_on
from tests.events.model.replicas import two_replicas

STEPS = 12
LEFT_MAX = 0.02
"""Of sequences that a slow machine broke off: more of them prove nothing."""


def check(
    postgres: EmbeddedPostgres,
    authority: Authority,
    sequences: int,
    *,
    fault: str = "",
    chosen: int | None = None,
    begun: Callable[[int], None] = lambda _count: None,
) -> None:
    """So many sequences; raises what the first that differs raises. `chosen` is the seed, and
    `begun` is told of each sequence. A mistake that was planted is not made smaller."""
    planted = FAULTS[fault] if fault else None
    with two_replicas(postgres, authority, planted) as replicas:
        machine = machine_on(replicas, begun)
        if chosen is not None:
            machine = seed(chosen)(machine)
        asked = settings(
            max_examples=sequences,
            stateful_step_count=STEPS,
            # What was found is a sequence of calls, and not an input of this function.
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate] if fault else [Phase.generate, Phase.shrink],
        )
        run_state_machine_as_test(machine, settings=asked)
        assert replicas.left_count <= max(2, LEFT_MAX * sequences), "the machine is too slow"
