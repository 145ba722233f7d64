"""Runs sequences of the machine on two replicas, with a mistake in their database or without."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test

from cli.local.postgres import EmbeddedPostgres
from tests.authority import Authority
from tests.events.model.faults import FAULTS
from tests.events.model.machine import machine_on
from tests.events.model.replicas import two_replicas

STEPS = 12
LEFT_MAX = 0.02
"""Of sequences that a slow machine broke off: more of them prove nothing."""


class _Found(BaseException):
    """Something differs. Nothing of hypothesis catches it, and tries the same once more."""


def check(
    postgres: EmbeddedPostgres,
    authority: Authority,
    sequences: int,
    *,
    fault: str = "",
    chosen: int | None = None,
    begun: Callable[[int], None] = lambda _count: None,
) -> None:
    """So many sequences; raises what the first that differs raises, an `AssertionError`, and
    `TimeoutError` where the machine is too slow. `chosen` is the seed, and `begun` is told of each
    sequence. A mistake that was planted is not made smaller."""
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
        _run(machine, asked, is_made_smaller=not fault)
        if replicas.left_count > max(2, LEFT_MAX * sequences):
            raise TimeoutError(f"the machine is too slow for {replicas.left_count} sequences")


def _run(machine: type[RuleBasedStateMachine], asked: settings, *, is_made_smaller: bool) -> None:
    """Raise what differed first where the same sequence goes otherwise the next time: who wins a
    race, and what a replica has in memory when it reads, is for the machine to say."""
    run: Any = get_state_machine_test(machine, settings=asked)
    sequence, differences = run.hypothesis.inner_test, list[AssertionError]()

    def observed(*arguments: Any, **named: Any) -> None:
        try:
            sequence(*arguments, **named)
        except AssertionError as difference:
            differences.append(difference)
            if is_made_smaller:
                raise
            raise _Found from difference

    run.hypothesis.inner_test = observed
    try:
        run()
    except _Found:
        raise differences[0] from None
    except Flaky as flaky:
        if not differences:
            raise
        raise differences[0] from flaky
