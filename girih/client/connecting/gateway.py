"""What a client asks the gateway: tokens. REST with the standard library, one call after the other.

The accounts have no gRPC of their own: the gateway serves them, and speaks HTTP.
"""

import http.client
import json
import re
import urllib.request
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import grpc

from girih.client.connecting.transport import LOOPBACK, Transport
from girih.client.context import CORRELATION_KEY, current_context
from girih.client.errors import GirihError, Refusal, Unavailable
from girih.client.refusals import error_of
from girih.ids import new_correlation_id

_TIMEOUT_S: Final = 10.0
_BYTES_MAX: Final = 2**20
_RETRY_AFTER_S_MAX: Final = 1e6

_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def post(url: str, path: str, body: Mapping[str, str], transport: Transport) -> Mapping[str, Any]:
    """The answer's JSON object, within some seconds; raises GirihError. Follows no redirect, and
    uses a proxy of the environment for what is outside of this machine."""
    request = urllib.request.Request(  # noqa: S310 - of http and https, as the URL was checked
        url + path,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
        method="POST",
    )
    correlation_id = current_context().correlation_id or new_correlation_id()
    request.add_header(CORRELATION_KEY, correlation_id)
    try:
        with _opener(url, transport).open(request, timeout=_TIMEOUT_S) as response:
            status, answer = response.status, response.read(_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        message = f"the gateway at {url} does not answer: {getattr(error, 'reason', error)}"
        raise Unavailable(Refusal(code=grpc.StatusCode.UNAVAILABLE, message=message)) from error
    if status >= 300:
        raise _refused(status, answer, url)
    try:
        return _object(answer)
    except ValueError as error:
        raise _stranger(url) from error


class _Answers(urllib.request.HTTPErrorProcessor):
    """Whatever the server answers is the answer. No redirect is followed: a secret is for the
    server that it was meant for."""

    def http_response(
        self,
        request: urllib.request.Request,  # noqa: ARG002 - the base class names it
        response: http.client.HTTPResponse,
    ) -> http.client.HTTPResponse:
        return response

    https_response = http_response


def _opener(url: str, transport: Transport) -> urllib.request.OpenerDirector:
    parts = urlsplit(url)
    handlers: list[urllib.request.BaseHandler] = [_Answers()]
    if parts.hostname in LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    if parts.scheme == "https":
        handlers.append(urllib.request.HTTPSHandler(context=transport.ssl_context()))
    return urllib.request.build_opener(*handlers)


def _refused(status: int, body: bytes, url: str) -> GirihError:
    """The error that a body tells, as the same would be over gRPC."""
    try:
        error = _object(body)["error"]
        details = error.get("details") or {}
        return error_of(
            Refusal(
                code=_code(str(error["code"]), status),
                message=str(error["message"]),
                reason=str(details.get("reason", "")),
                metadata=_metadata(details.get("metadata") or {}),
                retry_after_s=_seconds(details.get("retryAfterS")),
            )
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        if (code := _CODES.get(status)) is not None and status >= 429:
            message = f"the gateway at {url} answers {status}"
            return error_of(Refusal(code=code, message=message))
        return _stranger(url)


def _metadata(problem: Mapping[str, Any]) -> dict[str, str]:
    """By the names that gRPC has for them: `resetsAt` is `resets_at`."""
    return {re.sub("[A-Z]", _with_underscore, name): str(value) for name, value in problem.items()}


def _with_underscore(capital: re.Match[str]) -> str:
    return f"_{capital[0].lower()}"


def _object(body: bytes) -> Mapping[str, Any]:
    """The JSON object; raises ValueError for all else."""
    try:
        value = json.loads(body)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - bytes that are wrong are a value
    return value


def _seconds(value: object) -> float | None:
    """None for what is none, or no time that anybody waits."""
    if isinstance(value, int | float) and 0 <= value <= _RETRY_AFTER_S_MAX:
        return float(value)
    return None


def _code(name: str, status: int) -> grpc.StatusCode:
    try:
        return grpc.StatusCode[name]
    except KeyError:
        return _CODES.get(status, grpc.StatusCode.UNKNOWN)


def _stranger(url: str) -> GirihError:
    message = f"{url} does not answer as a gateway of girih does"
    return GirihError(Refusal(code=grpc.StatusCode.UNKNOWN, message=message))
