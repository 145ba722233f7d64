"""What the contract's options cannot say of what is asked, beside what they say.

Names every bad field, and touches no storage.
"""

from girih.events.v1 import events_pb2 as pb
from girih.rules import checking
from girih.rules.checking import MessageCheck
from services.events import json_text
from services.events.domain import StreamState
from services.plumbing.errors import Violations

STATES = {
    pb.Precondition.STATE_ABSENT: StreamState.ABSENT,
    pb.Precondition.STATE_EXISTS: StreamState.EXISTS,
}


def event_rules() -> MessageCheck:
    """What the contract says of an event. Asked for once, since to find it takes time too."""
    return checking.check_of(pb.Event.DESCRIPTOR)


def check_event(
    event: pb.Event, text: str, index: int, rules: MessageCheck | None, violations: Violations
) -> None:
    """`text` is its JSON. `rules` are None when the event keeps them. Takes a microsecond, and as
    long as it takes to parse the JSON.
    """
    if rules is not None and not rules.holds(event):
        rules.examine(event, f"events[{index}].", violations)
    if text or event.HasField("json"):
        if event.content_type:
            violations.add(f"events[{index}].content_type", "must be empty beside json")
        if problem := json_text.problem(text):
            violations.add(f"events[{index}].json", problem)
