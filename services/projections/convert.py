"""Projections between the wire and what they are."""

from typing import Final

from girih.ids import Position
from girih.projection import PoisonPolicy, ReplacedPolicy
from girih.projections.v1 import projections_pb2 as pb
from services.plumbing import validation
from services.projections.control.status import ProjectionStatus
from services.projections.domain import (
    Generation,
    ProjectionState,
    QuarantinedEvent,
    QuarantinePage,
    RebuildCause,
    StopCause,
)

PAGE_SIZE: Final = 100
PAGE_SIZE_MAX: Final = 1_000
TIMEOUT_S: Final = 10.0

_POISON = {
    PoisonPolicy.STOP: pb.POISON_POLICY_STOP,
    PoisonPolicy.QUARANTINE: pb.POISON_POLICY_QUARANTINE,
}
_REPLACED = {
    ReplacedPolicy.REBUILD: pb.REPLACED_POLICY_REBUILD,
    ReplacedPolicy.STOP: pb.REPLACED_POLICY_STOP,
}
_STOPS = {
    StopCause.POISON: pb.Projection.STOP_CAUSE_POISON,
    StopCause.LOG_REPLACED: pb.Projection.STOP_CAUSE_LOG_REPLACED,
    StopCause.QUARANTINE_FULL: pb.Projection.STOP_CAUSE_QUARANTINE_FULL,
}
_CAUSES = {
    RebuildCause.ASKED: pb.Rebuild.CAUSE_ASKED,
    RebuildCause.NEW_VERSION: pb.Rebuild.CAUSE_NEW_VERSION,
    RebuildCause.LOG_REPLACED: pb.Rebuild.CAUSE_LOG_REPLACED,
}


def asked_policies(
    request: pb.SetProjectionPoliciesRequest,
) -> tuple[PoisonPolicy | None, ReplacedPolicy | None]:
    """The policies asked for, None for the projection's own. Raises `InvalidInput`."""
    validation.check(request)
    poison = {value: policy for policy, value in _POISON.items()}
    replaced = {value: policy for policy, value in _REPLACED.items()}
    return poison.get(request.poison_policy), replaced.get(request.replaced_policy)


def asked_timeout_s(request: pb.WaitForProjectionRequest) -> float:
    """How long to wait. Raises `InvalidInput`."""
    validation.check(request)
    return float(request.timeout_s) if request.HasField("timeout_s") else TIMEOUT_S


def asked_page(request: pb.ListQuarantinedEventsRequest) -> tuple[Position, int]:
    """Behind which position, and how many at most. Raises `InvalidInput`."""
    validation.check(request)
    count_max = min(request.page_size or PAGE_SIZE, PAGE_SIZE_MAX)
    return Position(int(request.page_token or 0)), count_max


def projection(status: ProjectionStatus) -> pb.Projection:
    """A projection as it stands."""
    own, state = status.projection, status.state
    message = pb.Projection(
        projection=own.name,
        state=_state(status),
        position=status.position,
        head=status.head,
        lag_events=status.lag_events,
        lag_s=status.lag_s,
        problem=status.unfit_problem,
        poison_policy=_POISON[(state and state.poison_policy) or own.poison_policy],
        replaced_policy=_REPLACED[(state and state.replaced_policy) or own.replaced_policy],
        definition_version=own.version,
        event_types=sorted({one for query in own.queries for one in query.types}),
    )
    if state is not None:
        _add_state(message, state)
    return message


def quarantine_response(page: QuarantinePage, count_max: int) -> pb.ListQuarantinedEventsResponse:
    """The page, of one event more than `count_max` where there is another page."""
    events = page.events[:count_max]
    response = pb.ListQuarantinedEventsResponse(
        events=map(_quarantined, events), total_count=page.total_count
    )
    if len(page.events) > count_max:
        response.next_page_token = str(events[-1].position)
    return response


def _state(status: ProjectionStatus) -> pb.Projection.State:
    state = status.state
    if status.unfit_problem:
        return pb.Projection.STATE_UNFIT
    if state is None:
        return pb.Projection.STATE_WAITING
    if state.is_paused:
        return pb.Projection.STATE_PAUSED
    if state.building is not None and state.rebuild_cause is not RebuildCause.ASKED:
        return pb.Projection.STATE_REBUILDING
    if state.active.stop is not None:
        return pb.Projection.STATE_STOPPED
    return pb.Projection.STATE_RUNNING


def _add_state(message: pb.Projection, state: ProjectionState) -> None:
    active = state.active
    message.event_count = active.event_count
    message.incarnation = active.checkpoint.incarnation
    message.definition_version = active.checkpoint.version
    message.problem = message.problem or active.problem
    message.failed_position = active.failed_position or 0
    message.attempt_count = active.attempt_count
    message.quarantined_count = active.quarantined_count
    if active.moved_at is not None:
        message.moved_at.FromDatetime(active.moved_at)
    if active.stop is not None:
        message.stop_cause = _STOPS[active.stop.cause]
        message.stopped_at.FromDatetime(active.stop.at)
    if state.building is not None:
        message.rebuild.CopyFrom(_rebuild(state, state.building))


def _rebuild(state: ProjectionState, building: Generation) -> pb.Rebuild:
    return pb.Rebuild(
        cause=_CAUSES[state.rebuild_cause] if state.rebuild_cause else pb.Rebuild.CAUSE_ASKED,
        position=building.checkpoint.position,
        problem=building.problem,
        failed_position=building.failed_position or 0,
        stop_cause=_STOPS[building.stop.cause] if building.stop else None,
        quarantined_count=building.quarantined_count,
    )


def _quarantined(event: QuarantinedEvent) -> pb.QuarantinedEvent:
    message = pb.QuarantinedEvent(
        position=event.position,
        stream=event.stream,
        type=event.type,
        event_id=event.event_id,
        problem=event.problem,
        held_back=event.is_held_back,
        attempt_count=event.attempt_count,
        pending=event.is_pending,
    )
    message.set_aside_at.FromDatetime(event.set_aside_at)
    return message
