"""Many appends over one call: in order, each with its own outcome, over calls that break."""

import asyncio

import grpc
import pytest

from girih.client import (
    AppendStream,
    EventStoreClient,
    GirihError,
    NewEvent,
    PermissionDenied,
    Placement,
    Precondition,
    PreconditionFailed,
    RequestTooLarge,
    RetryPolicy,
    StreamOwned,
    Unavailable,
)
from girih.client.channel import MESSAGE_BYTES_MAX
from tests.authority import Authority
from tests.client.between import Between, Failure

AWAY = Failure(grpc.StatusCode.UNAVAILABLE)


def event() -> NewEvent:
    return NewEvent(stream="a", type="x")


async def outcomes_of(appends: AppendStream, events: list[NewEvent]) -> list[Placement]:
    """All begun, each as soon as there is room, and then awaited."""
    outcomes = [await appends.begin([event]) for event in events]
    return [placement for outcome in outcomes for placement in await outcome]


async def test_many_appends_are_stored_in_the_order_they_began(events: EventStoreClient) -> None:
    many = [event() for _ in range(300)]

    async with events.append_stream() as appends:
        placements = await outcomes_of(appends, many)

    assert [one.position for one in placements] == list(range(1, 301))
    assert [one.event_id for one in placements] == [one.id for one in many]
    assert [one.id async for one in events.read()] == [one.id for one in many]


async def test_a_refusal_is_that_of_its_append_and_the_others_go_on(
    events: EventStoreClient,
) -> None:
    async with events.append_stream() as appends:
        first = await appends.begin([event()])
        failed = await appends.begin([event()], [Precondition.absent("a")])
        owned = await appends.begin([NewEvent(stream="$lattices", type="x")])
        last = await appends.begin([event()])

        with pytest.raises(PreconditionFailed) as caught:
            await failed
        with pytest.raises(StreamOwned):
            await owned
        positions = [(await outcome)[0].position for outcome in (first, last)]

    assert caught.value.violations[0].actual_revision == 0
    assert positions == [1, 2]


async def test_an_append_that_no_message_can_hold_is_refused_alone(
    events: EventStoreClient, broken: Between, patient: EventStoreClient
) -> None:
    too_large = NewEvent(stream="a", type="x", binary=bytes(MESSAGE_BYTES_MAX))

    async with patient.append_stream() as appends:
        first = await appends.begin([event()])
        refused = await appends.begin([too_large])
        last = await appends.begin([event()])

        with pytest.raises(RequestTooLarge) as caught:
            await refused
        positions = [(await outcome)[0].position for outcome in (first, last)]

    assert caught.value.byte_count > caught.value.byte_count_max == MESSAGE_BYTES_MAX
    assert positions == [1, 2]
    assert len(broken.requests) == 1, "one call served them all"


@pytest.mark.parametrize(
    "failures",
    [
        [AWAY, Failure(grpc.StatusCode.UNAVAILABLE, responses=3), AWAY],
        [Failure(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", responses=n) for n in range(5)],
        [Failure(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", responses=2, ends=False)],
    ],
    ids=["lost", "shutting down", "refused for now"],
)
async def test_what_has_no_answer_is_sent_again_and_stored_once(
    events: EventStoreClient, broken: Between, patient: EventStoreClient, failures: list[Failure]
) -> None:
    broken.failures = list(failures)
    many = [event() for _ in range(40)]

    async with patient.append_stream() as appends:
        placements = await outcomes_of(appends, many)

    assert not broken.failures
    assert [one.event_id for one in placements] == [one.id for one in many]
    assert [one.id async for one in events.read()] == [one.id for one in many]


async def test_a_call_that_ends_as_idle_is_replaced_and_nobody_is_told(
    events: EventStoreClient, broken: Between, patient: EventStoreClient
) -> None:
    idle = Failure(grpc.StatusCode.UNAVAILABLE, "CALL_IDLE", responses=2)
    broken.failures = [idle] * 3
    retried: list[GirihError] = []
    policy = RetryPolicy(timeout_s=60.0, attempt_timeout_s=20.0, on_retry=retried.append)
    many = [event() for _ in range(40)]

    async with patient.acting(retry=policy).append_stream() as appends:
        await outcomes_of(appends, many)

    assert (broken.failures, retried) == ([], [])
    assert [one.id async for one in events.read()] == [one.id for one in many]


async def test_calls_that_end_as_idle_before_any_answer_are_failures(
    broken: Between, patient: EventStoreClient
) -> None:
    broken.failures = [Failure(grpc.StatusCode.UNAVAILABLE, "CALL_IDLE")] * 1_000
    policy = RetryPolicy(timeout_s=60.0, attempt_count_max=3, pause_s_min=0.01)

    async def begin() -> None:
        async with patient.acting(retry=policy).append_stream() as appends:
            await appends.begin([event()])

    with pytest.raises(Unavailable):
        await begin()

    assert len(broken.failures) == 997


async def test_no_more_than_allowed_are_under_way(
    broken: Between, patient: EventStoreClient
) -> None:
    broken.failures = [AWAY] * 1_000  # none is answered
    begun: list[NewEvent] = []
    brief = patient.acting(retry=RetryPolicy(timeout_s=1.0, attempt_timeout_s=1.0))

    async def begin_three() -> None:
        async with brief.append_stream(in_flight_max=2) as appends:
            for one in (event(), event(), event()):
                await appends.begin([one])
                begun.append(one)

    with pytest.raises(Unavailable):
        await begin_three()

    assert len(begun) == 2


async def test_a_busy_store_is_given_up_when_the_time_is_over(
    broken: Between, patient: EventStoreClient
) -> None:
    broken.failures = [AWAY] * 1_000
    retried: list[GirihError] = []
    policy = RetryPolicy(
        timeout_s=1.0,
        attempt_timeout_s=0.5,
        pause_s_min=0.01,
        on_retry=retried.append,
    )

    outcomes: list[asyncio.Future[list[Placement]]] = []

    async def begin() -> None:
        async with patient.acting(retry=policy).append_stream() as appends:
            outcomes.append(await appends.begin([event()]))

    with pytest.raises(Unavailable):
        await begin()

    assert isinstance(outcomes[0].exception(), Unavailable)
    assert all(isinstance(error, Unavailable) for error in retried)
    assert retried


async def test_who_may_not_append_is_told_at_once(
    events: EventStoreClient, authority: Authority, tenant: str
) -> None:
    reader = events.acting(token=authority.token(tenant, scopes=["events.read"]))

    async def begin() -> None:
        async with reader.append_stream() as appends:
            await appends.begin([event()])

    with pytest.raises(PermissionDenied):
        await begin()


async def test_whoever_leaves_leaves_no_outcome_waiting(
    events: EventStoreClient, broken: Between, patient: EventStoreClient
) -> None:
    broken.failures = [AWAY] * 1_000
    outcomes: list[asyncio.Future[list[Placement]]] = []

    async def begin_and_leave() -> None:
        async with patient.append_stream() as appends:
            outcomes.append(await appends.begin([event()]))
            raise KeyError

    with pytest.raises(KeyError):
        await begin_and_leave()

    assert outcomes[0].cancelled()


async def test_an_expired_token_is_renewed_and_the_stream_goes_on(
    events: EventStoreClient, authority: Authority, tenant: str
) -> None:
    tokens = [authority.token(tenant, exp=1), authority.token(tenant)]

    async with events.acting(token=lambda: tokens.pop(0)).append_stream() as appends:
        (placement,) = await (await appends.begin([event()]))

    assert placement.position == 1


async def test_a_response_without_events_is_passed_over(
    events: EventStoreClient, broken: Between, patient: EventStoreClient
) -> None:
    await events.append([event(), event()])
    broken.pads, broken.batch_max = True, 1

    read = [one.position async for one in patient.read()]
    followed = []
    async for one in patient.follow():
        followed.append(one.position)
        if len(followed) == 2:
            break

    assert read == followed == [1, 2]
