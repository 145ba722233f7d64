"""Every way to fail, and the one body that tells it."""

import inspect
import re
import socket
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest

from gateway.http import errors
from gateway.http.exchange import HttpExchange
from services.plumbing.grpc.contract import REQUEST_BYTES_MAX
from services.plumbing.settings import MESSAGE_BYTES
from tests.casing import odd_keys
from tests.gateway.sample import Gateway, SampleService, gateway_before

_LEAKS = re.compile(r"Traceback|asyncpg|/usr/|SELECT|127\.0\.0\.1|ZeroDivision|File \"")


def error(answer: httpx.Response) -> dict[str, Any]:
    """The error of an answer, once its form is checked."""
    body = answer.json()
    assert set(body) == {"error", "timestamp"}
    assert set(body["error"]) == {"code", "message", "details", "correlation_id"}
    assert body["error"]["correlation_id"] == answer.headers["x-correlation-id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["timestamp"])
    assert answer.headers["content-type"] == "application/json"
    assert not _LEAKS.search(answer.text)
    result: dict[str, Any] = body["error"]
    return result


async def test_a_body_is_bounded_by_what_its_rpc_takes(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/fail", content=b" " * (8 * REQUEST_BYTES_MAX + 1))

    assert answer.status_code == 413
    assert error(answer)["details"] == {
        "reason": "BODY_TOO_LARGE",
        "bytesMax": 8 * REQUEST_BYTES_MAX,
    }


@pytest.mark.parametrize(
    ("kind", "status", "code", "reason"),
    [
        ("invalid", 400, "INVALID_ARGUMENT", "INVALID_INPUT"),
        ("unauthenticated", 401, "UNAUTHENTICATED", "UNAUTHENTICATED"),
        ("denied", 403, "PERMISSION_DENIED", "PERMISSION_DENIED"),
        ("missing", 404, "NOT_FOUND", "THING_NOT_FOUND"),
        ("exists", 409, "ALREADY_EXISTS", "ALREADY_EXISTS"),
        ("changed", 409, "ABORTED", "THING_CHANGED"),
        ("unfit", 422, "FAILED_PRECONDITION", "FAILED_PRECONDITION"),
        ("busy", 429, "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"),
        ("down", 503, "UNAVAILABLE", "UNAVAILABLE"),
        ("bug", 500, "INTERNAL", "INTERNAL"),
    ],
)
async def test_a_services_error_has_its_status_and_reason(
    kind: str, status: int, code: str, reason: str, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/v1/fail", json={"kind": kind})

    assert answer.status_code == status
    assert error(answer)["code"] == code
    assert error(answer)["details"]["reason"] == reason


async def test_bad_fields_are_told_in_json_names(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/fail", json={"kind": "invalid"})

    assert error(answer)["details"]["violations"] == [
        {"field": "children[3].longNumber", "description": "is too long"},
        {"field": "exit_code", "description": "is too large"},
        {"field": "x-tenant-id", "description": "is odd"},
    ]
    assert error(answer)["message"] == "children[3].longNumber: is too long (and 2 more)"


async def test_a_services_own_details_are_told(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/fail", json={"kind": "changed"})

    assert error(answer)["details"]["explanation"] == {"times": "9007199254740993"}


async def test_the_numbers_of_an_error_are_told(client: httpx.AsyncClient) -> None:
    details = error(await client.post("/v1/fail", json={"kind": "missing"}))["details"]

    assert details == {
        "reason": "THING_NOT_FOUND",
        "domain": "events.girih",
        "metadata": {"thingId": "7"},
    }


_SAMPLES: dict[Any, Any] = {int: 1, float: 1.0, str: "events", list[str]: ["GET"]}

_OWN_ERRORS = [
    make
    for _, make in inspect.getmembers(errors, inspect.isfunction)
    if make.__module__ == errors.__name__
    and not make.__name__.startswith(("_", "from_"))
    and inspect.signature(make).return_annotation is errors.HttpError
    and make is not errors.invalid
]


@pytest.mark.parametrize("make", _OWN_ERRORS, ids=lambda make: make.__name__)
def test_an_error_of_the_gateways_own_is_in_camel_case(make: Any) -> None:
    wanted = inspect.signature(make).parameters.values()
    given = [_SAMPLES[one.annotation] for one in wanted if one.default is one.empty]

    body = make(*given).as_json("correlation-1")

    assert odd_keys(body) == set()
    assert body["error"]["details"]["reason"]


@pytest.mark.parametrize("kind", ["invalid", "missing", "changed", "busy", "down", "bug"])
async def test_an_error_of_a_service_is_in_camel_case(kind: str, client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/fail", json={"kind": kind})

    assert odd_keys(answer.json()) == set()


@pytest.mark.parametrize(("kind", "seconds", "exact"), [("busy", "3", 2.5), ("down", "1", 0.2)])
async def test_when_to_retry_is_told(
    kind: str, seconds: str, exact: float, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/v1/fail", json={"kind": kind})

    assert answer.headers["retry-after"] == seconds
    assert error(answer)["details"]["retryAfterS"] == exact


async def test_no_time_to_retry_is_told_where_a_retry_does_not_help(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/v1/fail", json={"kind": "too large"})

    assert answer.status_code == 429
    assert "retry-after" not in answer.headers
    assert "retryAfterS" not in error(answer)["details"]


async def test_nothing_of_a_bug_is_told(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/fail", json={"kind": "bug"})

    assert error(answer)["message"] == "internal error"


async def test_nothing_of_the_gateways_own_bugs_is_told(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError("secret /usr/lib")

    monkeypatch.setattr(HttpExchange, "body", fail)

    answer = await client.post("/v1/echo", json={})

    assert answer.status_code == 500
    assert error(answer)["message"] == "internal error"


@pytest.mark.parametrize(
    "path", ["/", "/nope", "/v1", "/v1/echo/", "/v1/echo/a/b", "/docs/x", "/v2/echo"]
)
async def test_an_unknown_route_is_404(path: str, client: httpx.AsyncClient) -> None:
    answer = await client.get(path)

    assert answer.status_code == 404
    assert error(answer)["details"]["reason"] == "ROUTE_NOT_FOUND"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/echo", "GET, HEAD, OPTIONS, POST"),
        ("GET", "/v1/fail", "OPTIONS, POST"),
        ("TRACE", "/v1/fail", "OPTIONS, POST"),
        ("BREW", "/v1/fail", "OPTIONS, POST"),
        ("POST", "/health", "GET, HEAD"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ],
)
@pytest.mark.documented
async def test_a_wrong_method_is_405_and_told_the_right_ones(
    method: str, path: str, allowed: str, client: httpx.AsyncClient
) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert error(answer)["code"] == "METHOD_NOT_ALLOWED"


_BAD_BODIES: list[bytes] = [
    b"{", b"[]", b"null", b"1", b'"a"', b"nope", b"\xff\xfe", b"\x00", b"{" * 100_000,
    b"[" * 100_000 + b"]" * 100_000, b'{"child":' * 10_000 + b"{}" + b"}" * 10_000,
    b'{"child":' * 200 + b'{"nope":1}' + b"}" * 200, b'{"number":1e400}', b'{"number":NaN}',
    b'{"json":' + b"[" * 10_000 + b"]" * 10_000 + b"}", b'{"text":"\\ud800"}',
    b'{"a":1,"a":2}', b'{"number":' + b"1" * 100_000 + b"}", b'{"moment":"9999999999"}',
    b'{"duration":"1e99s"}', b'{"structure":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}",
    b'{"value":' + b"[" * 900 + b"]" * 900 + b"}", b'{"mask":5}',
    b'{"wrapped":{}}', b'{"' + b"x" * 100_000 + b'":1}', b'{"data":"====="}', b'{"":1}',
    b'{"childrenByNumber":{"1":{"childrenByNumber":{"x":{}}}}}', b'{"text":"\n"}',
]  # fmt: skip


@pytest.mark.parametrize("body", _BAD_BODIES, ids=lambda body: repr(body[:24]))
async def test_a_bad_body_is_400_and_never_a_crash(body: bytes, client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}

    answer = await client.post("/v1/echo", content=body, headers=headers)

    assert answer.status_code == 400
    assert error(answer)["code"] == "INVALID_ARGUMENT"
    assert error(answer)["details"]["violations"]
    assert len(answer.content) < 50_000


_DEEP = b"[" * 10_000 + b"]" * 10_000
_TOO_DEEP = "must be nested at most 254 levels deep"


@pytest.mark.parametrize(
    ("body", "field", "description"),
    [
        (b'{"json":[1,{"a":NaN}]}', "json", "must be JSON, which has no NaN"),
        (
            b'{"children":[{},{"json":-Infinity}]}',
            "children[1].json",
            "must be JSON, which has no -Infinity",
        ),
        (b'{"number":NaN}', "number", "must be JSON, which has no NaN"),
        (b'{"text":"]{,","json":' + _DEEP + b"}", "json", _TOO_DEEP),
        (
            b'{"children":[{"text":"a\\"["},{"json":{"a":%b}}]}' % _DEEP,
            "children[1].json",
            _TOO_DEEP,
        ),
        (b'{"text":"%b","json":%b}' % (b"x" * 2**19, _DEEP), "", _TOO_DEEP),
        (b'{"value":' + _DEEP + b"}", "value", _TOO_DEEP),
        (b'{"json":' + b"[" * 255 + b"]" * 255 + b"}", "json", _TOO_DEEP),
        (b'{"json":[1e400]}', "json", "must hold numbers within the range of a double"),
        (b'{"json":' + b"1" * 400 + b"}", "json", "must hold numbers within the range of a double"),
        (
            b'{"json":' + b"1" * 9_999 + b"}",
            "json",
            "must hold numbers within the range of a double",
        ),
        (
            b'{"longNumber":' + b"1" * 9_999 + b"}",
            "longNumber",
            "must hold numbers within the range of a double",
        ),
        (b'{"text":"\xff"}', "", "the body must be UTF-8"),
    ],
    ids=lambda value: repr(value[:30]),
)
async def test_what_is_no_json_of_ours_is_told_with_its_field(
    body: bytes, field: str, description: str, client: httpx.AsyncClient
) -> None:
    headers = {"content-type": "application/json"}

    answer = await client.post("/v1/echo", content=body, headers=headers)

    violations = [{"field": field, "description": description}]
    assert error(answer)["details"]["violations"] == violations


@pytest.mark.parametrize("query", ["text=a&texts=%ff", "text=%e4&texts=a"])
async def test_a_query_that_is_not_utf8_is_told_with_its_parameter(
    query: str, client: httpx.AsyncClient
) -> None:
    answer = await client.get(f"/v1/echo?{query}")

    name = "texts" if "ff" in query else "text"
    violations = [{"field": name, "description": "must be UTF-8"}]
    assert error(answer)["details"]["violations"] == violations


@pytest.mark.parametrize(
    "query",
    ["nope=1", "number=x", "number=1&number=2", "%ff=1", "texts=%ff", "a" * 5000, "=", "&x"],
)
async def test_a_bad_query_is_400(query: str, client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/v1/echo?{query}")

    assert answer.status_code == 400
    assert error(answer)["code"] == "INVALID_ARGUMENT"


async def test_a_route_without_query_refuses_one(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/echo?text=a", json={})).status_code == 400


async def test_a_route_without_body_refuses_one(client: httpx.AsyncClient) -> None:
    answer = await client.request("GET", "/v1/echo", json={})

    assert error(answer)["details"]["reason"] == "UNEXPECTED_BODY"


@pytest.mark.parametrize("header", ["0", "-1", "inf", "nan", "1e3", "1s", "", "٣"])
async def test_a_bad_timeout_is_400(header: str, client: httpx.AsyncClient) -> None:
    headers = {b"X-Request-Timeout": header.encode()}

    answer = await client.post("/v1/echo", headers=headers)

    assert error(answer)["details"]["violations"][0]["field"] == "X-Request-Timeout"


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "multipart/form-data; boundary=x",
    ],
)
async def test_another_media_type_is_415(media_type: str, client: httpx.AsyncClient) -> None:
    headers = {"content-type": media_type}

    answer = await client.post("/v1/echo", content=b"{}", headers=headers)

    assert answer.status_code == 415
    assert error(answer)["code"] == "UNSUPPORTED_MEDIA_TYPE"


async def test_a_charset_beside_the_media_type_is_taken(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}

    assert (await client.post("/v1/echo", content=b"{}", headers=headers)).status_code == 201


async def test_a_compressed_body_is_415(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}

    answer = await client.post("/v1/echo", content=b"\x1f\x8b", headers=headers)

    assert answer.status_code == 415


async def test_a_service_that_is_away_is_503_without_its_address(service: SampleService) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        async with gateway_before(service, {"GATEWAY_EVENTS_ADDRESS": address}) as gateway:
            answers = [
                await gateway.client.post("/v1/echo", json={}),
                await gateway.client.get("/v1/count?to=3"),
            ]

    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert error(answer)["code"] == "UNAVAILABLE"
        assert error(answer)["details"]["reason"] == "SERVICE_UNAVAILABLE"


@pytest.mark.parametrize(
    ("complaint", "reason"),
    [
        ("CERTIFICATE_VERIFY_FAILED: certificate has expired", "SERVICE_UNAVAILABLE"),
        ("CERTIFICATE_VERIFY_FAILED: self signed certificate", "SERVICE_NOT_UNDERSTOOD"),
        ("WRONG_VERSION_NUMBER: Invalid certificate verification", "SERVICE_NOT_UNDERSTOOD"),
    ],
)
def test_a_certificate_that_ran_out_is_a_service_to_be_tried_again(
    complaint: str, reason: str
) -> None:
    nothing = grpc.aio.Metadata()
    message = f"Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: {complaint}"
    failure = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, message)

    assert errors.from_call(failure, "events").details["reason"] == reason


@pytest.mark.parametrize("bytes_over", [100, 2**20], ids=["by little", "by far"])
async def test_a_message_larger_than_the_service_takes_is_413(
    service: SampleService, bytes_over: int
) -> None:
    text = "x" * (MESSAGE_BYTES + bytes_over)
    async with gateway_before(service, {"GATEWAY_BODY_BYTES_MAX": str(2**25)}) as gateway:
        answer = await gateway.client.post("/v1/echo", json={"text": text})

    assert answer.status_code == 413
    assert error(answer)["details"]["reason"] == "MESSAGE_TOO_LARGE"


async def test_more_requests_than_allowed_are_503(service: SampleService) -> None:
    async with gateway_before(service) as gateway:
        gateway.application.metrics.in_flight_count = gateway.settings.request_count_max

        answer = await gateway.client.post("/v1/echo", json={})

    assert answer.status_code == 503
    assert error(answer)["details"]["reason"] == "GATEWAY_BUSY"


async def test_a_failing_stream_has_a_status_of_its_own(gateway: Gateway) -> None:
    answer = await gateway.client.get("/v1/count?to=3&failAfter=0")

    assert answer.status_code == 409
    assert error(answer)["details"]["reason"] == "THING_CHANGED"
