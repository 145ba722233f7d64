"""The slow proofs in short, and the proof that they can fail."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.chaos.clients import Killable, follow_through_kills, killable
from tests.chaos.decisions import decide_together
from tests.chaos.field_writes import kill_during_writes
from tests.chaos.filtered import follow_filtered
from tests.chaos.groups import acknowledge_without_leases, consume_through_kills
from tests.chaos.history import Attempt, History, Operation, Place, Recorded
from tests.chaos.imports import kill_during_imports
from tests.chaos.killed_jobs import kill_during_jobs
from tests.chaos.projections import kill_projections
from tests.chaos.refresh import use_refresh_tokens
from tests.chaos.replicas import race
from tests.chaos.retention import retain_half
from tests.chaos.shared_work import SharedWork
from tests.chaos.snapshots import pages_of_appends

pytestmark = pytest.mark.e2e


async def test_two_replicas_keep_every_promise_while_one_is_killed() -> None:
    history, _ = await race(
        duration_s=2,
        writers=8,
        kill_every_s=1,
        seed=1,
        is_protected=True,
        kills_min=2,
        lost_replies_min=1,
        loaders=4,
    )

    assert history.anomalies() == []
    answer = history.summary()
    assert answer["fail"] > 0, "nobody lost a race, so nothing was tested"


async def test_the_checker_sees_replicas_without_protection() -> None:
    history, _ = await race(duration_s=2, writers=8, kill_every_s=60, seed=1, is_protected=False)

    assert history.anomalies() != []


async def test_of_many_who_decide_on_the_same_one_wins() -> None:
    answer = await decide_together(rounds=5, racers=16, seed=1, is_protected=True)

    assert not answer.broken
    kinds = ("a revision", "a free name", "what was read", "each other")
    assert {kind: answer.figures[f"refused of {kind}"] for kind in kinds} == dict.fromkeys(
        kinds, 5 * 15
    )


async def test_the_proof_sees_decisions_that_are_written_on_another_head() -> None:
    answer = await decide_together(rounds=5, racers=16, seed=1, is_protected=False)

    assert answer.broken["more than one winner of a free name"]


async def test_what_is_too_old_is_read_by_nobody_and_leaves_the_disk_through_kills() -> None:
    answer = await retain_half(1_200, kills=1, seed=1, is_protected=True)

    assert not answer.broken
    assert answer.figures["looks"] == 3 * 2 * 18


async def test_the_proof_sees_rules_that_keep_for_longer_than_they_say() -> None:
    answer = await retain_half(240, kills=0, seed=1, is_protected=False)

    assert answer.broken["too old, found by tag"]
    assert answer.broken["too old, followed by category"]
    assert answer.broken["too old, in a decision's way"]


async def test_a_kill_in_the_middle_of_an_import_leaves_the_same_log(tmp_path: Path) -> None:
    file = tmp_path / "cases.jsonl"
    lines = [{"stream": f"case-{n % 300}", "type": "step", "n": n // 900} for n in range(3_000)]
    file.write_text("\n".join(json.dumps(line) for line in lines))

    answer = await kill_during_imports(file, rounds=1, seed=1)

    assert answer["events"] == 3_000
    assert answer["killed in the middle"] == 1


@pytest.mark.timeout(300)
async def test_a_kill_in_the_middle_of_a_field_write_leaves_it_as_before_or_after() -> None:
    answer = await kill_during_writes(rounds=3, seed=1, shape=(60, 150, 100))

    assert not answer.broken
    assert answer.figures["arrays in use"] > 0


@pytest.mark.timeout(300)
async def test_jobs_whose_replicas_are_killed_come_to_the_same_results() -> None:
    answer = await kill_during_jobs(kills=1, seed=2, steps_max=24_000)

    assert not answer.broken
    assert answer.figures["claims"] > answer.figures["jobs"]


async def test_followers_with_filters_that_are_cut_off_miss_nothing() -> None:
    outcome = await follow_filtered(
        follower_count=60, duration_s=6, appends_per_s=100, seed=1, is_protected=True
    )

    assert outcome.problems() == []
    answer = outcome.summary()
    assert answer["cuts"] > 10, "nobody came back, so nothing was tested"
    assert answer["signals"] > 60, "nobody was told how far the log was looked through"


async def test_the_checker_sees_followers_that_come_back_elsewhere() -> None:
    outcome = await follow_filtered(
        follower_count=40, duration_s=4, appends_per_s=100, seed=1, is_protected=False
    )

    assert outcome.problems() != []


@pytest.mark.timeout(400)
async def test_consumers_that_are_killed_and_paused_handle_all_events_in_order() -> None:
    answer = await consume_through_kills(duration_s=10, kill_every_s=2, rate=30, seed=1, lease_s=2)

    assert not answer.broken, answer.examples
    assert answer.figures["changes of the group"] == 3
    assert answer.figures["begun more than once"], "nobody lost a lane, so nothing was tested"
    assert answer.figures["acknowledged late"]


@pytest.mark.timeout(400)
async def test_the_checker_sees_consumers_that_settle_under_lost_leases() -> None:
    answer = await acknowledge_without_leases(seed=1, lease_s=2)

    assert answer.broken["handled again after it was settled"]


def appended(
    *ids: str, at: int, revision: int, stream: str = "s", expected: int | None = None
) -> Operation:
    places = tuple(Place(at + index, revision + index) for index in range(len(ids)))
    attempt = Attempt(float(at), at + 0.5, "ok", places)
    return Operation("w", stream, ids, expected, [attempt])


def log(*ids: str) -> list[Recorded]:
    return [Recorded(index + 1, "s", index, event_id) for index, event_id in enumerate(ids)]


FAITHFUL = History(
    [appended("a", at=1, revision=0, expected=-1), appended("b", "c", at=2, revision=1)],
    log("a", "b", "c"),
    log("a", "b", "c"),
)


def names(history: History) -> set[str]:
    return {line.partition(":")[0] for line in history.anomalies()}


def test_a_faithful_history_has_no_anomaly() -> None:
    assert names(FAITHFUL) == set()


def test_a_lost_acknowledgement_is_named() -> None:
    lost = History(FAITHFUL.operations, log("a", "b"), log("a", "b"))
    assert {"lost-ack", "torn-batch"} <= names(lost)


def test_an_event_stored_twice_is_named() -> None:
    final = log("a", "b", "c", "c")
    assert "duplicate-event" in names(History(FAITHFUL.operations, final, final))


def test_a_gap_in_the_positions_is_named() -> None:
    final = [*log("a", "b"), Recorded(4, "s", 2, "c")]
    assert "position-gap-or-duplicate" in names(History(FAITHFUL.operations, final, final))


def test_two_winners_of_one_revision_are_named() -> None:
    both = [
        appended("a", at=1, revision=0, expected=-1),
        appended("b", at=2, revision=0, expected=-1),
    ]
    assert "two-winners" in names(History(both, log("a", "b"), log("a", "b")))


def test_a_refused_event_that_is_there_is_named() -> None:
    refused = Operation("w", "s", ("a",), None, [Attempt(0, 1, "fail")])
    assert names(History([refused], log("a"), log("a"))) == {"failed-but-visible"}


def test_an_event_nobody_sent_is_named() -> None:
    assert names(History([], log("a"), log("a"))) == {"phantom-event"}


def test_a_skipped_event_is_named() -> None:
    skipped = History(FAITHFUL.operations, FAITHFUL.final, [log("a")[0], log("a", "b", "c")[2]])
    assert "skipped-or-reordered" in names(skipped)


def test_a_tail_that_ends_early_is_named() -> None:
    assert names(History(FAITHFUL.operations, FAITHFUL.final, log("a", "b"))) == {"lost-tail"}


def test_replicas_that_tell_different_logs_are_named() -> None:
    answer = History(FAITHFUL.operations, FAITHFUL.final, FAITHFUL.tailed, log("a", "c", "b"))
    assert names(answer) == {"divergence"}


def test_an_order_against_time_is_named() -> None:
    late = appended("b", at=1, revision=0)
    late.attempts[0].started_s, late.attempts[0].ended_s = 5.0, 6.0
    early = appended("a", at=2, revision=1)
    assert "real-time-order" in names(History([early, late], log("b", "a"), log("b", "a")))


async def test_refresh_tokens_are_given_once_and_endings_are_told() -> None:
    answer = await use_refresh_tokens(rounds=3, callers=40, seed=1, is_protected=True)

    assert not answer.broken
    assert answer.figures["refused to the thief"] == 3


async def test_the_proof_sees_refresh_tokens_without_protection() -> None:
    answer = await use_refresh_tokens(rounds=2, callers=20, seed=1, is_protected=False)

    assert answer.broken["successors of one token"] == 2


async def test_an_append_under_a_held_snapshot_looks_at_no_more_pages_than_the_first() -> None:
    first, last = await pages_of_appends(3_000, is_protected=True)

    assert last <= first + 5, "an index may have grown by a level"


async def test_the_proof_sees_appends_that_leave_versions_of_a_row() -> None:
    first, last = await pages_of_appends(3_000, is_protected=False)

    assert last > first + 5


@pytest.fixture(scope="module")
def girih() -> Iterator[Killable]:
    with killable() as girih:
        yield girih


async def test_programs_see_each_event_once_while_everything_they_call_is_killed(
    girih: Killable,
) -> None:
    answer = await follow_through_kills(girih, kills=3, kill_every_s=0.3, is_protected=True)

    assert not answer.broken
    kills = [count for name, count in answer.figures.items() if name.startswith("kills of")]
    assert kills == [1, 1, 1]
    repeated = sum(
        count for name, count in answer.figures.items() if name.startswith("repeated for")
    )
    assert repeated, "no call was broken, so nothing was tested"


@pytest.mark.parametrize(
    ("handled", "broken"),
    [
        ([1, 2, 3], []),
        ([1, 2, 2, 3], []),
        ([1, 2, 1, 3], ["events handled again that were acknowledged"]),
        ([2, 1, 3], ["s handled out of order"]),
        ([1, 3], ["events of s never handled"]),
    ],
    ids=str,
)
def test_the_proof_sees_what_consumers_do_wrong(handled: list[int], broken: list[str]) -> None:
    """Of the events 1 to 3 of a stream, the first of which is acknowledged."""
    work = SharedWork()

    for position in handled:
        event = SimpleNamespace(position=position, stream="s")
        work.handle(cast("Any", SimpleNamespace(event=event)))
        if position == 1:
            work.settled(position, None)

    faults = work.judge({"s": [1, 2, 3]}, Counter())
    assert [name for name, count in faults.items() if count] == broken


async def test_the_proof_sees_programs_that_go_on_from_where_they_began(girih: Killable) -> None:
    answer = await follow_through_kills(girih, kills=1, kill_every_s=0.3, is_protected=False)

    assert answer.broken["events repeated with asyncio"]
    assert answer.broken["events repeated with threads"]


@pytest.mark.timeout(300)
async def test_projections_that_are_killed_before_their_checkpoint_hold_the_fold_of_the_log() -> (
    None
):
    outcome = await kill_projections(kills=4, seed=1, is_protected=True)

    assert not outcome.broken
    assert outcome.figures["kills"] >= 4


@pytest.mark.timeout(300)
async def test_the_proof_sees_checkpoints_that_are_no_part_of_what_is_written() -> None:
    outcome = await kill_projections(kills=4, seed=1, is_protected=False)

    assert outcome.broken
