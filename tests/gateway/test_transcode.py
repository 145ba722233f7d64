"""Calls that are answered at once, from HTTP to a real service and back."""

from typing import Any

import httpx
import pytest

from tests.gateway.sample import Gateway, SampleService, until

_IMPATIENT = httpx.Timeout(20, read=0.3)


async def test_a_body_reaches_the_service_and_comes_back(client: httpx.AsyncClient) -> None:
    sent = {"longNumber": "9007199254740993", "texts": ["a"], "json": {"b": [1, None]}}

    answer = await client.post("/v1/echo", json=sent)

    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() | sent == answer.json()
    assert answer.json()["longZigzag"] == "0"


async def test_an_empty_body_is_an_empty_message(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/echo")).json()["text"] == ""


async def test_a_body_can_be_one_field(client: httpx.AsyncClient) -> None:
    answer = await client.put("/v1/echo/a%2Fb?number=7", json={"text": "inner"})

    assert answer.json()["text"] == "a/b"
    assert answer.json()["number"] == 7
    assert answer.json()["child"]["text"] == "inner"


async def test_an_answer_can_be_one_field(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/children", json={"text": "inner"})

    assert answer.status_code == 201
    assert answer.json()["text"] == "inner"


async def test_an_answer_of_one_field_that_is_unset_is_empty(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/children", json={})).json()["text"] == ""


async def test_a_bodys_field_is_not_taken_from_the_query(client: httpx.AsyncClient) -> None:
    answer = await client.put("/v1/echo/a?child.text=x", json={})

    assert fields(answer) == ["child.text"]


async def test_paths_bind_fields_at_any_depth(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/shelves/3/books/4?flag=true")

    assert answer.json()["text"] == "shelves/3"
    assert answer.json()["child"]["text"] == "4"
    assert answer.json()["flag"] is True


async def test_a_path_binds_numbers(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/numbers/-12")).json()["longNumber"] == "-12"
    assert fields(await client.get("/v1/numbers/twelve")) == ["longNumber"]


async def test_a_path_can_take_the_rest(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/files/a/b%20c/d")).json()["text"] == "a/b c/d"


async def test_a_field_of_the_path_may_be_repeated_in_the_body(client: httpx.AsyncClient) -> None:
    same = await client.post("/v1/echo/a:publish", json={"text": "a"})
    other = await client.post("/v1/echo/a:publish", json={"text": "b"})

    assert same.json()["text"] == "a"
    assert fields(other) == ["text"]


async def test_a_service_sees_who_calls_and_until_when(
    client: httpx.AsyncClient, service: SampleService
) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"X-Correlation-ID": "abc.1", "traceparent": traceparent}
    headers |= service.authority.headers("acme")

    await client.post("/v1/echo", headers={**headers, "X-Request-Timeout": "25"})

    call = service.calls[-1]
    assert (call.correlation_id, call.tenant, call.traceparent) == ("abc.1", "acme", traceparent)
    assert service.remaining_s is not None
    # gRPC rounds it up, to some milliseconds.
    assert 10.0 < service.remaining_s < 25.1


@pytest.mark.parametrize(("sent", "passed_on"), [("event-1", "event-1"), ("a b", ""), ("", "")])
async def test_a_service_is_told_what_a_request_is_made_because_of(
    sent: str, passed_on: str, client: httpx.AsyncClient, service: SampleService
) -> None:
    answer = await client.post("/v1/echo", headers={"X-Causation-ID": sent})

    assert answer.is_success
    assert service.calls[-1].causation_id == passed_on


async def test_without_being_asked_the_gateway_sets_the_deadline(
    client: httpx.AsyncClient, service: SampleService
) -> None:
    await client.post("/v1/echo", headers={"X-Request-Timeout": "999999"})

    assert service.remaining_s is not None
    # gRPC's clocks differ by some hundredths of a second on some machines.
    assert service.remaining_s == pytest.approx(30.0, abs=2.0)


@pytest.mark.parametrize(
    "correlation_id", ["", "a b", "x" * 65, "ä", "a\tb", "a/b", "../..", "{}", "%0d%0a"]
)
async def test_an_ill_formed_correlation_id_is_replaced(
    correlation_id: str, client: httpx.AsyncClient, service: SampleService
) -> None:
    answer = await client.post("/v1/echo", headers={b"X-Correlation-ID": correlation_id.encode()})

    answered = answer.headers["x-correlation-id"]
    assert answered == service.calls[-1].correlation_id
    assert answered != correlation_id
    assert len(answered) == 32


async def test_two_correlation_ids_are_replaced(
    client: httpx.AsyncClient, service: SampleService
) -> None:
    headers = [("X-Correlation-ID", "one"), ("X-Correlation-ID", "two")]

    answer = await client.post("/v1/echo", headers=headers)

    assert len(answer.headers["x-correlation-id"]) == 32
    assert service.calls[-1].correlation_id == answer.headers["x-correlation-id"]


@pytest.mark.documented
@pytest.mark.parametrize("path", ["/v1/echo", "/nope", "/health", "/docs", "/health/ready"])
async def test_every_answer_carries_the_correlation_id(
    path: str, client: httpx.AsyncClient
) -> None:
    answer = await client.delete(path, headers={"X-Correlation-ID": "mine"})

    assert answer.headers["x-correlation-id"] == "mine"
    assert answer.json()["error"]["correlation_id"] == "mine"


@pytest.mark.parametrize(
    "name",
    [
        "X-Tenant-ID", "X-TENANT-ID", "x-tenant-name", "x-user-id", "x-girih-tenant",
        "x-causation-id", "grpc-metadata-x-tenant-id", "grpc-metadata-authorization",
        "grpc-timeout", "grpc-encoding", "grpc-status-details-bin", "tenant-bin",
        "x-forwarded-for", "x-forwarded-proto", "forwarded", "te", "user-agent", "x-http-method",
    ],
)  # fmt: skip
async def test_no_other_header_becomes_metadata(
    name: str, client: httpx.AsyncClient, service: SampleService
) -> None:
    plain = await client.post("/v1/echo")

    answer = await client.post("/v1/echo", headers=[(name, "forged"), (name, "acme")])

    assert answer.status_code == plain.status_code == 201
    assert service.calls[-1].tenant == "default"
    assert service.calls[-1].causation_id == ""
    assert service.metadata[-1] == service.metadata[-2]


async def test_head_answers_as_get_does(online: httpx.AsyncClient) -> None:
    answer = await online.head("/v1/numbers/5")

    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) > 0
    assert answer.content == b""


async def test_options_tells_the_methods(client: httpx.AsyncClient) -> None:
    answer = await client.options("/v1/echo")

    assert answer.status_code == 204
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 204), ("PUT", 405), ("GET", 400)])
async def test_a_path_that_is_no_utf8_is_the_clients_mistake(
    method: str, status: int, client: httpx.AsyncClient
) -> None:
    answer = await client.request(method, "/v1/numbers/%ff")

    assert answer.status_code == status


async def test_answers_are_not_kept_or_sniffed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/numbers/5")

    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_client_that_leaves_cancels_its_call(
    gateway: Gateway, online: httpx.AsyncClient
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await online.post("/v1/echo", json={"text": "hang"}, timeout=_IMPATIENT)

    await gateway.service.cancelled.wait()
    await until(lambda: gateway.application.metrics.in_flight_count == 0)
    assert ("POST", "/v1/echo", 499) in gateway.application.metrics._requests


async def test_a_call_ends_with_its_deadline(gateway: Gateway, client: httpx.AsyncClient) -> None:
    headers = {"X-Request-Timeout": "0.2"}

    answer = await client.post("/v1/echo", json={"text": "hang"}, headers=headers)

    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "DEADLINE_EXCEEDED"
    assert answer.headers["retry-after"] == "1"
    await gateway.service.cancelled.wait()


def fields(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 400, answer.text
    return [result["field"] for result in answer.json()["error"]["details"]["violations"]]


async def test_a_body_with_long_lists_reaches_the_service_whole(client: httpx.AsyncClient) -> None:
    body = {
        "longNumbers": [str(number) for number in range(5_001)],
        "children": [{"number": number, "texts": ["a"]} for number in range(2_500)],
    }

    answer = await client.post("/v1/echo", json=body)

    assert answer.json()["longNumbers"] == body["longNumbers"]
    assert [child["number"] for child in answer.json()["children"]] == list(range(2_500))
