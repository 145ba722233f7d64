"""The main flow through models that datamodel-code-generator made, sent with httpx."""

import json
import os
from typing import TypeVar

import httpx
from girih_models import (
    AppendRequest,
    AppendResponse,
    CreateLatticeRequest,
    FindPathRequest,
    FindPathResponse,
    Lattice,
    LoginRequest,
    LoginResponse,
    RecordedEvent,
    RecordedEventLine,
    RegisterRequest,
    RegisterResponse,
)
from pydantic import BaseModel

Answer = TypeVar("Answer", bound=BaseModel)

EMAIL, PASSWORD = "datamodel@girih.test", "a strapwork of stars"


def main(url: str) -> None:
    with httpx.Client(base_url=url, timeout=30) as client:
        login = {"email": EMAIL, "password": PASSWORD}
        who = RegisterRequest.model_validate({**login, "name": "Ada"})
        post(client, "/auth/register", who, RegisterResponse)
        session = post(client, "/auth/login", LoginRequest.model_validate(login), LoginResponse)
        client.headers["authorization"] = f"Bearer {session.access_token}"

        cube = CreateLatticeRequest.model_validate({"dimensions": 3, "size": 10})
        lattice = post(client, "/v1/lattices", cube, Lattice)
        corners = {"start": {"coordinates": [0, 0, 0]}, "goal": {"coordinates": [9, 9, 9]}}
        query = FindPathRequest.model_validate(corners)
        path = f"/v1/lattices/{lattice.latticeId}:findPath"
        reply = post(client, path, query, FindPathResponse)

        for name in ("submitted", "approved"):
            event = {"stream": "permit-1", "type": name, "json": {"by": "Ada"}}
            append = AppendRequest.model_validate({"events": [event]})
            post(client, "/v1/events:append", append, AppendResponse)
        types = [event.event.type for event in read(client, "permit-1")]
    print(json.dumps({"length": reply.path.length, "types": types}))


def read(client: httpx.Client, stream: str) -> list[RecordedEvent]:
    response = client.get(f"/v1/streams/{stream}/events")
    lines = [RecordedEventLine.model_validate_json(line).root for line in response.iter_lines()]
    events = [line for line in lines if isinstance(line, RecordedEvent)]
    assert len(events) == len(lines), lines
    return events


JSON = {"content-type": "application/json"}


def post(client: httpx.Client, path: str, body: BaseModel, answer: type[Answer]) -> Answer:
    content = body.model_dump_json(by_alias=True, exclude_unset=True)
    response = client.post(path, content=content, headers=JSON)
    assert response.is_success, response.text
    return answer.model_validate_json(response.content)


main(os.environ["GIRIH_URL"])
