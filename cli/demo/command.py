"""`girih demo`: puts the workshop into the tenant of who is logged in, once."""

import base64
import uuid
from itertools import count
from typing import TYPE_CHECKING

from cli import exit_codes
from cli.client.rest import Refused
from cli.demo.workshop import FLOORS, HAPPENINGS, Floor, Happening
from cli.failure import Failed
from cli.terminal import output
from cli.terminal.formats import Format
from girih.client import Client, GirihError, NewEvent, PermissionDenied, Unavailable
from girih.client.lattices.arrays import packed

if TYPE_CHECKING:
    from cli.client.rest import Gateway, Json

_NAMESPACE = uuid.UUID("5f0c1d1e-6c1b-5a53-9a0e-2b8f6b3c7d10")
"""Whose ids none but the demo's are made of."""

_NEXT = """
Look at it next:
  girih streams list
  girih events read order-1
  girih events list --type placed -o wide
  girih lattices list
  girih lattices blocked {maze}
  girih paths find {maze} --from 0,0 --to 10,20
  girih lattices distances {maze} --from 0,0 --to 10,20 --to 5,8"""


def run(gateway: "Gateway", events_address: str, output_format: Format) -> None:
    """Append what is not there yet, and tell what there is. Raises Failed.

    All ids follow from the tenant's, so that a second run stores nothing; events are appended
    by gRPC, which takes what caused them.
    """
    tenant = uuid.UUID(gateway.get("/auth/whoami")["tenant"]["tenantId"])
    appended = _append_all(gateway, events_address, tenant)
    floors = [_floor(gateway, floor, tenant) for floor in FLOORS]
    if output_format is Format.name:
        print(*(floor["latticeId"] for floor in floors), sep="\n")
    elif output_format.is_document:
        output.document({"eventsAppended": appended, "lattices": floors}, output_format)
    else:
        streams = len({one.stream for one in HAPPENINGS})
        print(
            f"{len(HAPPENINGS)} events of {streams} streams, {appended} of them appended now",
            *(_floor_sentence(floor) for floor in floors),
            sep="\n",
        )
        output.message(_NEXT.format(maze=floors[1]["latticeId"][:13]))


def _append_all(gateway: "Gateway", events_address: str, tenant: uuid.UUID) -> int:
    """How many were not there before."""
    ids = [_id(tenant, f"{index}") for index in range(len(HAPPENINGS))]
    appended = 0
    try:
        with Client(events=events_address, token=gateway.tokens.for_services) as client:
            for event_id, one in zip(ids, HAPPENINGS, strict=True):
                cause = "" if one.caused_by is None else ids[one.caused_by]
                acting = client.acting(correlation_id=one.case, causation_id=cause)
                (placement,) = acting.append([_event(event_id, one)])
                appended += not placement.already_stored
    except GirihError as error:
        message = f"events at {events_address} refuses: {error}"
        raise Failed(message, _exit_code(error)) from error
    return appended


def _exit_code(error: GirihError) -> int:
    if isinstance(error, Unavailable):
        return exit_codes.UNAVAILABLE
    return exit_codes.NOPERM if isinstance(error, PermissionDenied) else exit_codes.FAILED


def _event(event_id: str, one: Happening) -> NewEvent:
    return NewEvent.with_data(one.stream, one.type, one.data, id=event_id, tags=one.tags)


def _floor(gateway: "Gateway", floor: Floor, tenant: uuid.UUID) -> "Json":
    """The lattice's id, and the way across it. One that was deleted is made again."""
    for made_before in count():
        try:
            return _laid(gateway, floor, _id(tenant, f"{floor.title}/{made_before}"))
        except Refused as refused:
            # The same request is answered with the same lattice, also when it is gone.
            if refused.reason != "LATTICE_NOT_FOUND":
                raise
    raise AssertionError("there is no end of numbers")


def _laid(gateway: "Gateway", floor: Floor, request_id: str) -> "Json":
    body = {**floor.body, "requestId": request_id}
    if floor.blocked:
        shape, bitmap = packed([[sign == "#" for sign in row] for row in floor.blocked])
        bits = {"blocked": base64.b64encode(bitmap).decode(), "bitOrder": "BIT_ORDER_LITTLE"}
        body |= {"shape": list(shape), **bits}
    lattice_id = gateway.post("/v1/lattices", body)["latticeId"]
    query = {"start": {"coordinates": floor.start}, "goal": {"coordinates": floor.goal}}
    path = gateway.post(f"/v1/lattices/{lattice_id}:findPath", query)["path"]
    return {
        "latticeId": lattice_id,
        "title": floor.title,
        **query,
        "length": path["length"],
        "steps": path["steps"],
    }


def _floor_sentence(floor: "Json") -> str:
    ends = (",".join(map(str, floor[end]["coordinates"])) for end in ("start", "goal"))
    way = f"{' to '.join(ends)} is {floor['length']:.4g} long"
    return f"lattice {floor['latticeId']}: {floor['title']}; {way}"


def _id(tenant: uuid.UUID, name: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{tenant}/{name}"))
