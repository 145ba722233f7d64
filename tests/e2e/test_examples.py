"""Every example of an answer in the contract is what a real gateway answers, name by name."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.asking import patient_client
from tests.casing import odd_keys
from tests.e2e.test_outage import eventually
from tests.processes import ROOT, System

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NDJSON = "application/x-ndjson"
PASSWORD = "a strapwork of stars"


@dataclass
class Walk:
    """Calls operations as their examples have it, and keeps what each was answered."""

    client: httpx.Client
    document: dict[str, Any]
    answers: dict[str, Any] = field(default_factory=dict)

    def call(self, operation_id: str, body: Any = None, token: str = "", **path: str) -> Any:
        """With the example for its body, where no other is given."""
        verb, template, operation = dict(self.operations())[operation_id]
        content = operation.get("requestBody", {}).get("content", {})
        media_type = next(iter(content), "application/json")
        sent = content.get(media_type, {}).get("example") if body is None else body
        request = self.client.build_request(
            verb,
            template.format(**path),
            params={one["name"]: one["example"] for one in parameters(operation)},
            content=sent if isinstance(sent, bytes) else json.dumps(sent) if content else None,
            headers={"content-type": media_type, **bearer(token)},
        )
        response = self.client.send(request)
        assert response.is_success, f"{operation_id}: {response.text}"
        assert str(response.status_code) in operation["responses"], operation_id
        is_stream = response.headers["content-type"] == NDJSON
        text = response.text.splitlines()[0] if is_stream else response.text
        is_json = response.headers["content-type"] in (NDJSON, "application/json")
        self.answers[operation_id] = json.loads(text) if is_json else None
        return self.answers[operation_id]

    def operations(self) -> Iterator[tuple[str, tuple[str, str, dict[str, Any]]]]:
        """Verb, path and operation, by name."""
        for path, item in self.document["paths"].items():
            for verb, operation in item.items():
                if verb != "parameters":
                    yield operation["operationId"], (verb.upper(), path, operation)

    def answered(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What the document says of the answer to each operation that was called."""
        for operation_id, (_, _, operation) in self.operations():
            if operation_id in self.answers:
                well = next(code for code in operation["responses"] if code.startswith("2"))
                content = operation["responses"][well]["content"]
                yield operation_id, next(iter(content.values()))


def parameters(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Those of the query that have an example."""
    for one in operation.get("parameters", []):
        if one.get("in") == "query" and "example" in one:
            yield one


@pytest.fixture(scope="module")
def walk(system: System) -> Iterator[Walk]:
    with patient_client(system.url) as client:
        walk = Walk(client, client.get("/openapi.json").json())
        accounts(walk, system)
        events(walk)
        schemas_and_snapshots(walk)
        projections(walk)
        groups(walk)
        what_is_taken_away(walk)
        lattices(walk)
        leave(walk)
        yield walk


def accounts(walk: Walk, system: System) -> None:
    call = walk.call
    tenant_id = call("AccountService_Register")["tenant"]["tenantId"]
    signed_in(walk, call("AccountService_Login"))
    me = call("AccountService_WhoAmI")
    call("AccountService_CreateStreamTicket")
    invited = call("AccountService_CreateInvitation")
    call("AccountService_ListInvitations")
    accepted = {"token": invited["token"], "password": PASSWORD, "name": "Omar"}
    guest = call("AccountService_AcceptInvitation", accepted)["user"]["userId"]
    call("AccountService_SetMemberRole", {"role": "ROLE_VIEWER"}, userId=guest)
    call("AccountService_ListMembers")
    call("AccountService_RemoveMember", userId=guest)
    again = call("AccountService_CreateInvitation", {"email": "eve@girih.dev", "role": 1})
    call("AccountService_RevokeInvitation", invitationId=again["invitation"]["invitationId"])
    key = call("AccountService_CreateKey")
    # Before it is used: when that is noted is a matter of chance.
    call("AccountService_ListKeys")
    call("AccountService_ExchangeKey", {"key": key["secret"]})
    call("AccountService_RevokeKey", keyId=key["key"]["keyId"])
    call("AccountService_ListSessions")
    call("AccountService_ListTenants")
    other = walk.call("AccountService_Login")
    switched = call(
        "AccountService_SwitchTenant",
        {"refresh_token": other["refresh_token"]},
        tenantId=tenant_id,
    )
    session_id = str(UUID(switched["refresh_token"].partition(".")[0]))
    call("AccountService_EndSession", sessionId=session_id)
    call("AccountService_GetUsage")
    call("AccountService_GetServerSettings")
    call("AccountService_GetServerFigures")
    operator = system.authority.token(
        tenant_id, sub=f"user:{me['user']['userId']}", scope="plans.write"
    )
    call(
        "AccountService_SetPlan",
        {"plan": {"name": "professional"}},
        token=operator,
        tenantId=tenant_id,
    )


def events(walk: Walk) -> None:
    walk.call("EventStoreService_Append")
    walk.call("EventStoreService_AppendStream")
    event = walk.call("EventStoreService_Read")
    correlation_id = event["context"]["correlationId"]
    walk.call("EventStoreService_ReadByStream", streamName="permit-1")
    walk.call("EventStoreService_ListStreams")
    walk.call("EventStoreService_ReadTrace", correlationId=correlation_id)
    walk.call("EventStoreService_GetLog")
    walk.call("EventStoreService_GetPosition")
    walk.call("EventStoreService_ListCategories")
    walk.call("EventStoreService_ListEventTypes")
    walk.call("EventStoreService_SetStreamMetadata", streamName="permit-1")
    walk.call("EventStoreService_SetStreamRetention", streamName="permit-1")
    walk.call("EventStoreService_GetStream", streamName="permit-1")


def what_is_taken_away(walk: Walk) -> None:
    event = walk.call("EventStoreService_Read")
    walk.call("EventStoreService_RedactEvent", position=event["position"])
    walk.call("EventStoreService_DeleteStream", streamName="permit-1")
    walk.call("EventStoreService_TombstoneStream", {}, streamName="permit-1")


def schemas_and_snapshots(walk: Walk) -> None:
    walk.call("SnapshotService_SaveSnapshot", streamName="permit-1")
    walk.call("SnapshotService_LoadStream", streamName="permit-1")
    walk.call("SchemaService_RegisterSchema")
    walk.call("SchemaService_ListSchemas")
    walk.call("SchemaService_GetSchema", type="granted")
    renamed = {"type": "object", "properties": {"grantedBy": {"type": "string"}}}
    version = {"type": "granted", "version": 2, "schema": renamed}
    walk.call("SchemaService_RegisterSchema", version | {"compatibility": "COMPATIBILITY_NONE"})
    walk.call("SchemaService_RegisterUpcaster", type="granted")
    walk.call("SchemaService_DeleteSchemas", type="granted")


def projections(walk: Walk) -> None:
    upload_a_document(walk)
    opened = {"at": "2026-11-01T12:00:00Z", "channel": "web"}
    event = {"stream": "case-1", "type": "case.opened", "json": opened}
    walk.client.post("/v1/events:append", json={"events": [event]}).raise_for_status()
    head = walk.call("EventStoreService_GetLog")["headPosition"]
    for one in walk.call("ProjectionService_ListProjections")["projections"]:
        waited = walk.client.get(
            f"/v1/projections/{one['projection']}:wait", params={"position": head, "timeoutS": 60}
        )
        assert waited.json()["reached"], waited.text
    walk.call("ProjectionService_ListProjections")
    walk.call("IndicatorService_ListIndicators")
    walk.call("IndicatorService_GetIndicatorHistory", indicator="open_cases")
    of_types = {"projection": "event_types"}
    for rpc in ("GetProjection", "WaitForProjection", "ListQuarantinedEvents"):
        walk.call(f"ProjectionService_{rpc}", **of_types)
    walk.call("ProjectionService_SetProjectionPolicies", **of_types)
    # What is being rebuilt is told until it is done.
    for rpc in ("PauseProjection", "ResumeProjection", "RebuildProjection"):
        walk.call(f"ProjectionService_{rpc}", {}, **of_types)
    walk.call("ProjectionService_ReplayQuarantinedEvents", **of_types)
    walk.call("ProjectionService_DiscardQuarantinedEvent", {}, position="1", **of_types)
    walk.call("DocumentService_ListDocuments")
    walk.call("DocumentService_GetDocument", document="1")
    walk.call("DocumentService_ListElements")
    walk.call("DocumentService_ListElementsByDocument", document="1")


def upload_a_document(walk: Walk) -> None:
    """With all that docs/reference/documents.md says of one, but that it is withdrawn."""
    page = (ROOT / "docs" / "reference" / "documents.md").read_text(encoding="utf-8")
    examples = re.findall(r"^`([a-z-]+)`[^`].*?```json\n(.*?)```", page, re.MULTILINE | re.DOTALL)
    events = [
        {
            "stream": "extraction-1" if event_type == "element-extracted" else "document-1",
            "type": event_type,
            "json": json.loads(text),
        }
        for event_type, text in examples
        if event_type != "document-withdrawn"
    ]
    walk.call("EventStoreService_Append", {"events": events})


def groups(walk: Walk) -> None:
    walk.call("GroupService_CreateGroup")
    walk.call("GroupService_ListGroups")
    for rpc in ("ReplayParkedEvents", "DiscardParkedEvents"):
        walk.call(f"GroupService_{rpc}", group="mailing")
    for rpc in ("UpdateGroup", "GetGroup", "ListParkedEvents", "ResetGroup", "DeleteGroup"):
        walk.call(f"GroupService_{rpc}", group="mailing")


def lattices(walk: Walk) -> None:
    lattice_id = walk.call("LatticeService_CreateLattice")["latticeId"]
    walk.call("LatticeService_ListLattices")
    fields(walk, lattice_id)
    walk.call("LatticeUploadService_UploadLattice", bytes(4))
    for rpc in ("GetLattice", "ReadBlocked", "FindPath", "FindPaths", "Distances"):
        walk.call(f"LatticeService_{rpc}", latticeId=lattice_id)
    for rpc in ("FindRoute", "CountPaths", "SimplePaths", "Reachable", "NearestSources"):
        walk.call(f"PathService_{rpc}", latticeId=lattice_id)
    add_routes(walk)
    structure(walk, lattice_id)
    jobs(walk, lattice_id)
    walk.call("LatticeService_DeleteLattice", latticeId=lattice_id)


def structure(walk: Walk, lattice_id: str) -> None:
    for rpc in (
        "DegreeHistogram",
        "Components",
        "ComponentLabels",
        "Extent",
        "Centrality",
        "Spectrum",
        "Heat",
        "Resistances",
        "SpanningTrees",
        "MinimumSpanningTree",
        "Colouring",
        "Communities",
        "Percolation",
    ):
        walk.call(f"StructureService_{rpc}", latticeId=lattice_id)


def fields(walk: Walk, lattice_id: str) -> None:
    walk.call("FieldService_CreateField", latticeId=lattice_id)
    walk.call("FieldService_WriteField", bytes(1_000), latticeId=lattice_id, name="height")
    upload = walk.call("FieldService_BeginUpload", latticeId=lattice_id, name="height")
    of_upload = {"latticeId": lattice_id, "name": "height", "uploadId": upload["uploadId"]}
    walk.call("FieldService_GetUpload", **of_upload)
    walk.call("FieldService_ListFields", latticeId=lattice_id)
    walk.call("PictureService_Render", latticeId=lattice_id)
    walk.call("TransformService_BlockByField", latticeId=lattice_id)
    walk.call("TransformService_WriteBlocked", latticeId=lattice_id)
    walk.call("TransformService_TransformBlocked", latticeId=lattice_id)
    walk.call("HistoryService_UndoBlocked", latticeId=lattice_id)
    walk.call("HistoryService_RedoBlocked", latticeId=lattice_id)
    walk.call("PictureService_PreviewTransform", latticeId=lattice_id, name="height")
    walk.call("TransformService_TransformField", latticeId=lattice_id, name="height")
    for rpc, path in (
        ("StartTransformJob", {"name": "height"}),
        ("StartTransformJobByLatticeId", {}),
        ("StartComponentLabelsJob", {}),
    ):
        apart = walk.call(f"JobService_{rpc}", latticeId=lattice_id, **path)
        walk.client.post(f"/v1/jobs/{apart['jobId']}:cancel", json={}).raise_for_status()
    for rpc in ("UndoChange", "RedoChange", "GetHistory", "GetState", "VerifyLattice", "DiffField"):
        walk.call(f"HistoryService_{rpc}", latticeId=lattice_id, name="height")
    for rpc in ("GetStatistics", "GetField", "ReadField", "DeleteField"):
        walk.call(f"FieldService_{rpc}", latticeId=lattice_id, name="height")


def jobs(walk: Walk, lattice_id: str) -> None:
    # The longer one first: what is answered to the other is what the examples show.
    ising = {"ising": {"temperature": 2.5}}
    forever = {"simulation": ising, "steps": "1000000000", "discardSteps": "999999999"}
    long = walk.call("JobService_StartJob", forever, latticeId=lattice_id)["jobId"]
    walk.call("JobService_CancelJob", {}, jobId=long)
    walk.call("JobService_ContinueJob", {}, jobId=long)
    eventually(
        lambda: walk.client.post(f"/v1/jobs/{long}:render", json={}).status_code != 409,
        "the job has something to show",
    )
    walk.call("PictureService_RenderJob", jobId=long)
    walk.client.post(f"/v1/jobs/{long}:cancel", json={}).raise_for_status()
    short = walk.call("JobService_StartJob", latticeId=lattice_id)["jobId"]
    for rpc in ("WatchJob", "GetJob", "ReadSeries"):
        walk.call(f"JobService_{rpc}", jobId=short)
    walk.call("JobService_ListJobs")


def add_routes(walk: Walk) -> None:
    """Once the projection has the lattice."""
    head = walk.call("EventStoreService_GetLog")["headPosition"]
    waiting = {"position": head, "timeoutS": 60}
    assert walk.client.get("/v1/projections/lattices:wait", params=waiting).json()["reached"]
    walk.call("LatticeViewService_SearchLattices")


def leave(walk: Walk) -> None:
    signed_in(walk, walk.call("AccountService_Login"))
    refreshed = walk.call(
        "AccountService_Refresh",
        {"refresh_token": walk.answers["AccountService_Login"]["refresh_token"]},
    )
    signed_in(walk, refreshed)
    changed = {"password": PASSWORD, "newPassword": f"{PASSWORD} and lines"}
    walk.call("AccountService_ChangePassword", changed)
    walk.call("AccountService_Logout", {"refresh_token": refreshed["refresh_token"]})


def signed_in(walk: Walk, tokens: dict[str, Any]) -> None:
    walk.client.headers.update(bearer(tokens["access_token"]))


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def shape(value: Any) -> Any:
    """Names and types, without the values."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


def test_every_operation_was_called(walk: Walk) -> None:
    operations = {operation_id for operation_id, _ in walk.operations()}

    assert {one for one in operations if "Service_" in one} == set(walk.answers)


def test_the_examples_of_answers_have_the_names_of_real_answers(walk: Walk) -> None:
    documented = {
        operation_id: media["example"]
        for operation_id, media in walk.answered()
        if "example" in media
    }

    bytes_alone = {
        "FieldService_ReadField",
        "JobService_ReadSeries",
        "LatticeService_ReadBlocked",
        "PictureService_Render",
    }
    assert set(documented) == set(walk.answers) - bytes_alone
    for operation_id, example in documented.items():
        assert shape(example) == shape(walk.answers[operation_id]), operation_id


def test_real_answers_are_in_camel_case(walk: Walk) -> None:
    answers = {**walk.answers, "health": walk.client.get("/health").json()}

    for operation_id, answer in answers.items():
        assert odd_keys(answer, free=frozenset({"json", "metadata"})) == set(), operation_id


def test_real_answers_fit_their_schemas(walk: Walk) -> None:
    components = {"components": walk.document["components"]}

    for operation_id, media in walk.answered():
        answer = walk.answers[operation_id]
        if answer is not None:
            Draft202012Validator({**media["schema"], **components}).validate(answer)
