"""The main flow through a client that openapi-python-client made."""

import json
import os
from http import HTTPStatus
from uuid import UUID

from girih_client import AuthenticatedClient, Client
from girih_client.api.accounts import account_service_login, account_service_register
from girih_client.api.events import (
    event_store_service_append,
    event_store_service_append_stream,
    event_store_service_read_by_stream,
)
from girih_client.api.lattice import lattice_service_create_lattice, lattice_service_find_path
from girih_client.models.append_request import AppendRequest
from girih_client.models.append_stream_request import AppendStreamRequest
from girih_client.models.create_lattice_request import CreateLatticeRequest
from girih_client.models.event_input import EventInput
from girih_client.models.find_path_request import FindPathRequest
from girih_client.models.find_path_response import FindPathResponse
from girih_client.models.lattice import Lattice
from girih_client.models.login_request import LoginRequest
from girih_client.models.login_response import LoginResponse
from girih_client.models.recorded_event import RecordedEvent
from girih_client.models.register_request import RegisterRequest
from girih_client.models.register_response import RegisterResponse
from girih_client.models.site_input import SiteInput

EMAIL, PASSWORD = "openapi-python-client@girih.test", "a strapwork of stars"


def main(url: str) -> None:
    guest = Client(base_url=url)
    who = RegisterRequest(email=EMAIL, password=PASSWORD, name="Ada")
    registered = account_service_register.sync(client=guest, body=who)
    assert isinstance(registered, RegisterResponse), registered
    login = LoginRequest(email=EMAIL, password=PASSWORD)
    session = account_service_login.sync(client=guest, body=login)
    assert isinstance(session, LoginResponse), session

    girih = AuthenticatedClient(base_url=url, token=session.access_token)
    cube = CreateLatticeRequest(dimensions=3, size=10)
    lattice = lattice_service_create_lattice.sync(client=girih, body=cube)
    assert isinstance(lattice, Lattice), lattice
    query = FindPathRequest(start=SiteInput([0, 0, 0]), goal=SiteInput([9, 9, 9]))
    reply = lattice_service_find_path.sync(UUID(lattice.lattice_id), client=girih, body=query)
    assert isinstance(reply, FindPathResponse), reply

    submitted = EventInput(stream="permit-1", type_="submitted", json={"by": "Ada"})
    event_store_service_append.sync(client=girih, body=AppendRequest([submitted]))
    approved = EventInput(stream="permit-1", type_="approved", json={"by": "Ada"})
    streamed = event_store_service_append_stream.sync_detailed(
        client=girih, body=AppendStreamRequest([approved])
    )
    assert streamed.status_code == HTTPStatus.OK, streamed.content
    read = event_store_service_read_by_stream.sync_detailed("permit-1", client=girih)
    assert read.status_code == HTTPStatus.OK, read.content
    events = [RecordedEvent.from_dict(json.loads(line)) for line in read.content.splitlines()]

    types = [event.event.type_ for event in events]
    print(json.dumps({"length": reply.path.length, "types": types}))


main(os.environ["GIRIH_URL"])
