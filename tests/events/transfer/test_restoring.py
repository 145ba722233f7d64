"""Events are put down as they were or not at all, and only where nothing else is."""

import secrets
from collections.abc import Sequence

import grpc
import pytest

from girih.client import GirihError, NewEvent
from girih.client.blocking.client import Client
from girih.client.blocking.transfer import Transfer
from girih.events.v1 import transfer_pb2
from tests.authority import Authority
from tests.events.transfer.conftest import Open

Carried = Sequence[transfer_pb2.RestoredEvent]


@pytest.fixture
def carried(opened: Open) -> Carried:
    """Four events of three streams of another tenant."""
    source = opened("source")
    for streams in ("ab", "ac"):
        source.append([NewEvent(stream=stream, type="t", json="1") for stream in streams])
    transfer = Transfer.of(source)
    records = [event for response in transfer.records() for event in response.events]
    return [
        transfer_pb2.RestoredEvent(recorded=recorded, digest=one.digest)
        for recorded, one in zip(records, transfer.digests(1).events, strict=True)
    ]


@pytest.fixture
def transfer(opened: Open) -> Transfer:
    """Of a log that nobody has appended to."""
    return Transfer.of(opened("target"))


def refusal(transfer: Transfer, after: int, carried: Carried) -> GirihError:
    with pytest.raises(GirihError) as caught:
        transfer.restore(after, carried)
    return caught.value


def test_an_event_that_was_changed_is_named_and_none_is_restored(
    transfer: Transfer, carried: Carried
) -> None:
    carried[2].recorded.event.type = "another"

    refused = refusal(transfer, 0, carried)

    assert (refused.reason, refused.metadata["position"]) == ("RECORD_DAMAGED", "3")
    assert not transfer.digests(1).events


def test_events_that_do_not_follow_each_other_are_refused(
    transfer: Transfer, carried: Carried
) -> None:
    carried[2].recorded.revision = 2
    in_revision = refusal(transfer, 0, carried)
    carried[2].recorded.revision = 1
    carried[3].recorded.recorded_at.seconds -= 60
    in_time = refusal(transfer, 0, carried)
    in_position = refusal(transfer, 0, carried[1:])

    assert "events[2].recorded" in str(in_revision)
    assert "events[3].recorded" in str(in_time)
    assert "events[0].recorded.position" in str(in_position)


def test_what_was_restored_is_not_restored_again(transfer: Transfer, carried: Carried) -> None:
    transfer.restore(0, carried[:2])

    refused = refusal(transfer, 0, carried[:2])

    assert (refused.reason, refused.metadata["head_position"]) == ("RESTORE_MISPLACED", "2")


def test_a_log_that_somebody_has_appended_to_takes_no_more(
    opened: Open, transfer: Transfer, carried: Carried
) -> None:
    transfer.restore(0, carried[:2])
    opened("target").append([NewEvent(stream="own", type="t", json="1")])

    assert refusal(transfer, 2, carried[2:]).reason == "LOG_NOT_EMPTY"


def test_members_of_a_tenant_cannot_say_what_happened_when(
    served: str, authority: Authority, carried: Carried
) -> None:
    token = authority.token(secrets.token_hex(4), scopes=["events.append", "events.read"])

    with Client(events=served, token=token) as member:
        refused = refusal(Transfer.of(member), 0, carried)

    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
