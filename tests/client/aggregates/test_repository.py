"""Commands are carried out once, on what is there, by both repositories; others are told."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

import grpc
import pytest

from girih.client import (
    ABSENT,
    AsyncRepository,
    CallContext,
    Client,
    EventStoreClient,
    Fold,
    Follower,
    GirihError,
    HistoryUnusable,
    LogReplaced,
    Repository,
    Retention,
    RetryPolicy,
    Revision,
    RevisionConflict,
    Unavailable,
    bind_context,
)
from tests.authority import Authority
from tests.client.aggregates.permits import (
    Granted,
    NotAllowed,
    Noted,
    Permit,
    PermitAggregate,
    Submitted,
    granted,
    noted,
    submitted,
)
from tests.client.between import Between, Failure
from tests.client.conftest import RETRY

LOST = Failure(grpc.StatusCode.UNAVAILABLE, after=True)
Decide = Callable[[PermitAggregate], object]


class Permits(Protocol):
    """What tests ask of a repository."""

    async def load(self, permit_id: str) -> PermitAggregate: ...
    async def refresh(self, aggregate: PermitAggregate) -> Revision: ...
    async def save(
        self, aggregate: PermitAggregate, *, command_id: str | None = None
    ) -> Revision: ...
    async def execute(
        self, permit_id: str, decide: Decide, *, command_id: str | None = None
    ) -> PermitAggregate: ...


class InThreads:
    """The one without asyncio, whose calls wait in threads."""

    def __init__(self, repository: Repository[PermitAggregate]) -> None:
        self._repository = repository

    async def load(self, permit_id: str) -> PermitAggregate:
        return await asyncio.to_thread(self._repository.load, permit_id)

    async def refresh(self, aggregate: PermitAggregate) -> Revision:
        return await asyncio.to_thread(self._repository.refresh, aggregate)

    async def save(self, aggregate: PermitAggregate, *, command_id: str | None = None) -> Revision:
        return await asyncio.to_thread(self._repository.save, aggregate, command_id=command_id)

    async def execute(
        self, permit_id: str, decide: Decide, *, command_id: str | None = None
    ) -> PermitAggregate:
        return await asyncio.to_thread(
            self._repository.execute, permit_id, decide, command_id=command_id
        )


@pytest.fixture(params=["asyncio", "blocking"])
def permits(
    request: pytest.FixtureRequest,
    address: str,
    authority: Authority,
    tenant: str,
    events: EventStoreClient,
) -> Iterator[Permits]:
    if request.param == "asyncio":
        yield AsyncRepository(events, PermitAggregate)
        return
    with Client(events=address, token=authority.token(tenant), retry=RETRY) as client:
        yield InThreads(Repository(client, PermitAggregate))


@pytest.fixture
def rival(address: str, authority: Authority, tenant: str) -> Iterator[Repository[PermitAggregate]]:
    """Somebody else, who may be called while a loop is held up."""
    with Client(events=address, token=authority.token(tenant), retry=RETRY) as client:
        yield Repository(client, PermitAggregate)


async def types(events: EventStoreClient, stream: str = "permit-1") -> list[str]:
    return [event.type async for event in events.read(stream)]


def test_both_repositories_take_the_same() -> None:
    for name in ("__init__", "load", "refresh", "save", "execute"):
        one, other = (
            inspect.signature(getattr(kind, name)).parameters.values()
            for kind in (AsyncRepository, Repository)
        )
        assert [(each.name, each.default) for each in one] == [
            (each.name, each.default) for each in other
        ]


async def test_what_is_saved_is_loaded(permits: Permits) -> None:
    permit = await permits.load("1")
    assert (permit.exists, permit.revision) == (False, ABSENT)
    permit.submit("Ada")
    permit.grant("Omar")

    assert await permits.save(permit) == 1

    loaded = await permits.load("1")
    assert (loaded.state, loaded.revision, loaded.pending) == (Permit("Ada", "Omar"), 1, ())


async def test_a_rule_that_says_no_saves_nothing(
    permits: Permits, events: EventStoreClient
) -> None:
    def submit_twice(permit: PermitAggregate) -> None:
        permit.submit("Ada")
        permit.submit("Eve")

    with pytest.raises(NotAllowed):
        await permits.execute("1", submit_twice)

    assert await types(events) == []


async def test_a_command_that_decides_on_nothing_appends_nothing(
    permits: Permits, events: EventStoreClient
) -> None:
    await permits.execute("1", lambda permit: None)

    assert await events.head() == 0


async def test_saving_what_somebody_overtook_tells_both_revisions(permits: Permits) -> None:
    slow = await permits.load("1")
    await permits.execute("1", lambda permit: permit.note("a", "b", "c"))
    slow.submit("Ada")

    with pytest.raises(RevisionConflict) as caught:
        await permits.save(slow)

    error = caught.value
    assert (error.stream, error.expected_revision, error.actual_revision) == ("permit-1", -1, 2)
    assert (error.attempts, [one.event for one in slow.pending]) == (1, [Submitted("Ada")])


async def test_a_lost_race_is_decided_again_on_what_is_there(
    permits: Permits, rival: Repository[PermitAggregate]
) -> None:
    seen: list[int] = []

    def grant(permit: PermitAggregate) -> None:
        seen.append(permit.revision)
        permit.grant("Omar")

    permit = await permits.execute("1", overtaken(grant, rival, times=2))

    assert seen == [-1, 0, 1]
    assert permit.state == Permit(granted_by="Omar", notes=("overtaken", "overtaken"))


async def test_after_three_repetitions_the_conflict_tells_both_revisions(
    permits: Permits, rival: Repository[PermitAggregate], events: EventStoreClient
) -> None:
    with pytest.raises(RevisionConflict) as caught:
        await permits.execute("1", overtaken(lambda permit: permit.grant("Omar"), rival, times=9))

    error = caught.value
    assert (error.expected_revision, error.actual_revision, error.attempts) == (2, 3, 4)
    assert await types(events) == ["noted"] * 4


def overtaken(decide: Decide, rival: Repository[PermitAggregate], *, times: int) -> Decide:
    """Decides, so often after somebody else was faster: what it was loaded at is the past."""
    left = [times]

    def slow(permit: PermitAggregate) -> None:
        if left[0]:
            left[0] -= 1
            rival.execute(permit.id, lambda other: other.note("overtaken"))
        decide(permit)

    return slow


async def test_a_command_is_carried_out_once(permits: Permits, events: EventStoreClient) -> None:
    command_id = "import 2026/17"

    first = await permits.execute("1", lambda permit: permit.note("a", "b"), command_id=command_id)
    again = await permits.execute("1", lambda permit: permit.note("c"), command_id=command_id)
    await permits.execute("1", lambda permit: permit.note("d"), command_id="another")

    assert (first.state.notes, again.state.notes) == (("a", "b"), ("a", "b"))
    assert (await permits.load("1")).state.notes == ("a", "b", "d")
    tags = [event.tags async for event in events.read("permit-1")]
    assert tags == [(f"command:{command_id}",), (), ("command:another",)]


async def test_a_command_is_known_also_behind_a_snapshot(permits: Permits) -> None:
    await permits.execute("1", lambda permit: permit.note("a"), command_id="first")
    await permits.execute("1", lambda permit: permit.note("b", "c", "d"))
    await permits.execute("10", lambda permit: permit.note("of another"), command_id="first")

    permit = await permits.execute("1", lambda permit: permit.note("e"), command_id="first")

    assert permit.state.notes == ("a", "b", "c", "d")


def noting(text: str) -> Decide:
    return lambda permit: permit.note(text)


async def test_twins_of_one_command_that_decide_otherwise_store_one(permits: Permits) -> None:
    both = await asyncio.gather(
        *(permits.execute("1", noting(f"by {n}"), command_id="one") for n in range(8))
    )

    notes = (await permits.load("1")).state.notes
    assert len(notes) == 1
    assert {permit.state.notes for permit in both} == {notes}


async def test_saving_again_what_was_saved_is_harmless(
    permits: Permits, events: EventStoreClient
) -> None:
    permit = await permits.load("1")
    permit.note("a")
    twin = await permits.load("1")
    twin.note("a")

    assert await permits.save(permit, command_id="one") == 0
    assert await permits.save(twin, command_id="one") == 0

    assert await types(events) == ["noted"]


async def test_a_lost_answer_is_no_lost_race(
    broken: Between, patient: EventStoreClient, events: EventStoreClient
) -> None:
    permits = AsyncRepository(patient, PermitAggregate)
    broken.failures = [LOST, LOST]

    permit = await permits.execute("1", lambda permit: permit.submit("Ada"))

    assert (permit.revision, permit.state.submitted_by) == (0, "Ada")
    assert await types(events) == ["submitted"]


async def test_what_is_pending_is_saved_again_after_an_unknown_outcome(
    broken: Between, patient: EventStoreClient, events: EventStoreClient
) -> None:
    once = patient.acting(retry=RetryPolicy(timeout_s=20.0, attempt_count_max=1))
    permits = AsyncRepository(once, PermitAggregate)
    permit = await permits.load("1")
    permit.submit("Ada")
    broken.failures = [LOST]

    with pytest.raises(Unavailable):
        await permits.save(permit)
    assert await permits.save(permit) == 0

    assert await types(events) == ["submitted"]


async def test_events_carry_the_ids_of_the_context(
    permits: Permits, events: EventStoreClient
) -> None:
    with bind_context(CallContext("correlation-1", "cause-1")):
        await permits.execute("1", lambda permit: permit.grant("Omar"))

    event = await events.last("permit-1")
    assert event is not None
    assert (event.correlation_id, event.causation_id, event.tags) == (
        *("correlation-1", "cause-1"),
        ("by:Omar",),
    )


async def test_loading_begins_at_a_snapshot(permits: Permits, events: EventStoreClient) -> None:
    for n in range(6):
        await permits.execute("1", noting(str(n)))

    loaded = await events.load("permit-1", schema_version=1)

    assert loaded.snapshot is not None
    assert (loaded.snapshot.revision, len(loaded.events)) == (3, 2)
    assert (await permits.load("1")).state.notes == tuple("012345")


class Renamed(PermitAggregate):
    """The same permits, as a later version of the program has them."""

    fold = Fold(Permit(), version=2)


Renamed.fold.on("submitted", Submitted)(submitted)
Renamed.fold.on("noted", Noted)(lambda permit, event: noted(permit, Noted(event.text.upper())))
Renamed.fold.on("granted", Granted)(granted)


async def test_a_snapshot_without_an_upgrade_is_not_used_and_replaced(
    events: EventStoreClient,
) -> None:
    older, newer = (AsyncRepository(events, kind) for kind in (PermitAggregate, Renamed))
    await older.execute("1", lambda permit: permit.note("a", "b", "c", "d"))
    await older.execute("1", lambda permit: permit.note("e"))

    await newer.execute("1", lambda permit: permit.note("f"))

    assert (await newer.load("1")).state.notes == tuple("ABCDEF")
    assert (await older.load("1")).state.notes == tuple("abcdef")
    loaded = await events.load("permit-1", schema_version=2)
    assert loaded.snapshot is not None
    assert (loaded.snapshot.revision, loaded.snapshot.schema_version) == (5, 2)


async def test_a_snapshot_that_is_not_ours_is_not_used(
    permits: Permits, events: EventStoreClient
) -> None:
    await permits.execute("1", lambda permit: permit.note("a", "b"))
    await events.save_snapshot("permit-1", 1, b'{"notes": ["z"]}', schema_version=1)

    permit = await permits.execute("1", lambda permit: permit.note("c"))

    assert permit.state.notes == ("a", "b", "c")


async def test_a_snapshot_that_cannot_be_saved_fails_no_command(
    events: EventStoreClient, authority: Authority, tenant: str
) -> None:
    class Large(PermitAggregate):
        snapshot_every = 1

    failed: list[GirihError] = []
    permits = AsyncRepository(events, Large, on_snapshot_failed=failed.append)

    for _ in range(3):
        permit = await permits.execute("1", lambda permit: permit.note("x" * 2_000_000))

    assert permit.revision == 2
    assert len(failed) == 1


async def test_what_is_redacted_after_it_was_loaded_comes_back_with_no_snapshot(
    permits: Permits, events: EventStoreClient
) -> None:
    permit = await permits.execute("1", lambda permit: permit.note("12 Elm Street", "b", "c"))
    await events.redact((await events.head()) - 2, "an address")
    permit.note("d")
    await permits.save(permit)

    assert permit.state.notes[0] == "12 Elm Street"
    assert (await events.load("permit-1")).snapshot is None


async def test_what_was_decided_on_an_event_that_a_log_lost_is_not_saved(
    permits: Permits, events: EventStoreClient
) -> None:
    permit = await permits.execute("1", lambda permit: permit.note("a"))
    permit.incarnation = "that was lost"
    permit.note("b")

    with pytest.raises(LogReplaced):
        await permits.save(permit)

    assert (await permits.load("1")).state.notes == ("a",)


async def test_an_aggregate_goes_on_in_the_incarnation_that_it_was_saved_in(
    events: EventStoreClient,
) -> None:
    permit = PermitAggregate("1")
    permit.note("a")
    (appended,) = await events.append(
        permit.new_events(["01a225c9-955f-7000-8c26-8ace82b35a3f"], ())
    )
    before, after = (replace(appended, incarnation=one) for one in ("before", "after"))

    permit.saved([before])
    permit.saved([after])

    assert permit.incarnation == "after"


async def test_an_aggregate_goes_on_in_the_incarnation_that_it_was_followed_in(
    events: EventStoreClient,
) -> None:
    permit = PermitAggregate("1")
    permit.note("a")
    await events.append(permit.new_events(["01a225c9-955f-7000-8c26-8ace82b35a3f"], ()))
    (event,) = [one async for one in events.read("permit-1")]
    followed = PermitAggregate("1")
    followed.reset(None, "before")

    followed.add([event])

    assert followed.incarnation == event.incarnation != ""


async def test_a_deleted_aggregate_begins_anew(permits: Permits, events: EventStoreClient) -> None:
    await permits.execute("1", lambda permit: permit.note("a", "b", "c", "d"))
    await events.delete_stream("permit-1")

    assert not (await permits.load("1")).exists
    permit = await permits.execute("1", lambda permit: permit.submit("Ada"))

    assert (permit.state, permit.revision) == (Permit("Ada"), 4)
    assert (await permits.load("1")).state == Permit("Ada")


async def test_what_retention_has_taken_is_not_taken_for_the_whole(
    permits: Permits, events: EventStoreClient
) -> None:
    await permits.execute("1", lambda permit: permit.note("a", "b"))
    await events.set_retention("permit-1", Retention(max_count=1))

    with pytest.raises(HistoryUnusable, match="retention") as caught:
        await permits.load("1")

    assert caught.value.revision == 0


async def test_what_a_snapshot_holds_may_be_taken_by_retention(
    permits: Permits, events: EventStoreClient
) -> None:
    await permits.execute("1", lambda permit: permit.note("a", "b", "c", "d"))
    await events.set_retention("permit-1", Retention(max_count=1))

    assert (await permits.load("1")).state.notes == tuple("abcd")


async def test_a_follower_keeps_an_aggregate_current(events: EventStoreClient) -> None:
    permits = AsyncRepository(events, PermitAggregate)
    await permits.execute("1", lambda permit: permit.note("a", "b", "c", "d", "e"))
    followed = PermitAggregate("1")

    async def start() -> int:
        return await permits.refresh(followed)

    follower = Follower(events, followed.add, stream=followed.stream, start=start)
    following = asyncio.create_task(follower.run())
    await permits.execute("1", lambda permit: permit.note("f"))
    await follower.until(5, timeout=20)
    following.cancel()

    assert (followed.state.notes, followed.revision) == (tuple("abcdef"), 5)


async def test_a_decision_that_would_not_be_awaited_is_refused(events: EventStoreClient) -> None:
    async def decide(permit: PermitAggregate) -> None:
        permit.submit("Ada")

    with pytest.raises(TypeError, match="plain function"):
        await AsyncRepository(events, PermitAggregate).execute("1", decide)


async def test_a_command_without_a_name_is_refused(events: EventStoreClient) -> None:
    permits = AsyncRepository(events, PermitAggregate)

    for command_id in "", "x" * 129:
        with pytest.raises(ValueError, match="command_id"):
            await permits.execute("1", lambda permit: None, command_id=command_id)
