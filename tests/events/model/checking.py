"""Runs sequences of the machine on two replicas, with a mistake in their database or without."""

from collections.abc import Callable
from traceback import format_exception
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import Flaky, HypothesisException
from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test

from cli.local.postgres import EmbeddedPostgres
from tests.authority import Authority
from tests.events.model.faults import FAULTS
from tests.events.model.machine import machine_on
from tests.events.model.replicas import two_replicas

STEPS = 12
LEFT_MAX = 0.02
"""Of sequences that a slow machine broke off: more of them prove nothing."""


class _Difference(BaseException):
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
    `TimeoutError` where too many are broken off. `chosen` is the seed, and `begun` is told of each
    sequence. A mistake that was planted is not made smaller."""
    planted = FAULTS[fault] if fault else None
    with two_replicas(postgres, authority, planted) as replicas:
        while replicas.tenant_count < sequences:
            machine = machine_on(replicas, begun)
            if chosen is not None:
                # Another one behind a sequence that was left, which else comes once more.
                machine = seed(chosen + replicas.tenant_count)(machine)
            asked = settings(
                max_examples=sequences - replicas.tenant_count,
                stateful_step_count=STEPS,
                # What was found is a sequence of calls, and not an input of this function.
                database=None,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate] if fault else [Phase.generate, Phase.shrink],
            )
            if not _run(machine, asked, is_made_smaller=not fault):
                replicas.left["sequences that went otherwise"] += 1
            if replicas.left.total() > max(2, LEFT_MAX * sequences):
                raise TimeoutError(f"too many sequences were broken off: {dict(replicas.left)}")


def _run(machine: type[RuleBasedStateMachine], asked: settings, *, is_made_smaller: bool) -> bool:
    """Raise what differed first where the same sequence goes otherwise the next time: who wins a
    race, and what a replica has in memory when it reads, is for the machine to say. False where
    one did and nothing differed: of two goes one was broken off."""
    run: Any = get_state_machine_test(machine, settings=asked)
    sequence, differences = run.hypothesis.inner_test, list[Exception]()

    def observed(*arguments: Any, **named: Any) -> None:
        try:
            sequence(*arguments, **named)
        except HypothesisException:
            raise  # how it breaks off a sequence
        except Exception as difference:
            differences.append(difference)
            if is_made_smaller:
                raise
            raise _Difference from difference

    run.hypothesis.inner_test = observed
    try:
        run()
    except _Difference:
        raise differences[0] from None
    except Flaky as flaky:
        if differences:
            # The end of a sequence is compared also behind an error, which it then hides.
            differences[0].add_note("".join(format_exception(differences[0])))
            raise differences[0] from flaky
        return False
    return True
