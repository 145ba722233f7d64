"""Calls of a gateway's REST, with deadlines, and its errors as exit codes.

Knows HTTP and the form of girih's errors; which routes there are is known by who calls.
"""

import json
import re
import ssl
import threading
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from cli import exit_codes
from cli.client.lines import lines_of
from cli.failure import Away, Failed

# The gateway gives a call 30 s; its own answer shall come before we stop waiting.
_TIMEOUT = httpx.Timeout(connect=5.0, read=35.0, write=35.0, pool=5.0)

# A gateway that says nothing for so long is asked whether it lives, on another connection.
_SILENCE_S = 3.0
_ALIVE_S = 7.0

STREAM_READ_S = 60.0
"""How long a stream may say nothing. An event stream tells every 15 s that it is alive."""

LOOPBACK = {"localhost", "127.0.0.1", "::1"}

Json = Any
"""A decoded JSON value."""


class Refused(Failed):
    """The gateway answered with an error."""

    def __init__(self, error: "ErrorBody", exit_code: int) -> None:
        super().__init__(error.sentence(), exit_code)
        self.error = error

    @property
    def reason(self) -> str:
        return self.error.reason

    def as_json(self) -> dict[str, object]:
        return {
            "code": self.error.code,
            "message": "\n".join(self.error.problems),
            "correlation_id": self.error.correlation_id,
            "details": dict(self.error.details),
            "exitCode": self.exit_code,
        }

    def naming(self, options: Mapping[str, str]) -> "Refused":
        """The same, with the option in place of the field that it became."""

        def named(problem: str) -> str:
            for field, option in options.items():
                if problem.startswith((f"{field}:", f"{field}[")):
                    return option + problem.removeprefix(field)
            return problem

        error = replace(self.error, problems=tuple(map(named, self.error.problems)))
        return Refused(error, self.exit_code)


@dataclass(frozen=True)
class ErrorBody:
    """What a gateway says of a failure."""

    status: int
    code: str
    problems: tuple[str, ...]
    """What is wrong: each bad field where there are several, else the message."""
    reason: str
    correlation_id: str
    retry_after_s: float | None
    details: Mapping[str, Json]

    def sentence(self) -> str:
        """For people: a line for each problem, and one for whoever looks into it."""
        parts = [self.reason or self.code, f"correlation id {self.correlation_id}"]
        if self.retry_after_s is not None:
            parts.append(f"try again in {self.retry_after_s:g} s")
        return "\n".join(map(printable, [*self.problems, ", ".join(parts)]))

    @classmethod
    def of(cls, status: int, body: Json, correlation_id: str) -> Self | None:
        """None when the body is none of girih's."""
        try:
            error = body["error"]
            details = error.get("details") or {}
            return cls(
                status=status,
                code=str(error["code"]),
                problems=_problems(str(error["message"]), details.get("violations") or ()),
                reason=str(details.get("reason", "")),
                correlation_id=str(error.get("correlation_id") or correlation_id),
                retry_after_s=_number_or_none(details.get("retryAfterS")),
                details=details,
            )
        except (KeyError, TypeError, AttributeError):
            return None

    def refusal(self) -> Failed:
        exit_code = _EXIT_CODES.get(self.code, exit_codes.FAILED)
        # What nobody serves is no thing that could be missing.
        return Refused(self, exit_codes.FAILED if self.reason == "ROUTE_NOT_FOUND" else exit_code)


def _number_or_none(value: Json) -> float | None:
    return value if isinstance(value, int | float) else None


def _problems(message: str, violations: Sequence[Json]) -> tuple[str, ...]:
    if len(violations) < 2:
        return (message,)
    return tuple(f"{one['field']}: {one['description']}" for one in violations)


_EXIT_CODES = {
    "INVALID_ARGUMENT": exit_codes.DATAERR,
    "PAYLOAD_TOO_LARGE": exit_codes.DATAERR,
    "UNAUTHENTICATED": exit_codes.NOPERM,
    "PERMISSION_DENIED": exit_codes.NOPERM,
    "NOT_FOUND": exit_codes.NOINPUT,
    "ALREADY_EXISTS": exit_codes.CANTCREAT,
    "ABORTED": exit_codes.TEMPFAIL,
    "RESOURCE_EXHAUSTED": exit_codes.TEMPFAIL,
    "UNAVAILABLE": exit_codes.UNAVAILABLE,
    "DEADLINE_EXCEEDED": exit_codes.UNAVAILABLE,
    "REQUEST_TIMEOUT": exit_codes.UNAVAILABLE,
}


def printable(text: str) -> str:
    """Without what would move a terminal's cursor or change its colours."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


class Tokens:
    """What proves who calls; this one proves nothing.

    See `cli.client.session` for those that do.
    """

    def for_gateway(self) -> str:
        """What REST takes: empty for nobody."""
        return ""

    def for_services(self) -> str:
        """What gRPC takes: an access token."""
        return ""

    def renewed(self, refused: str) -> str | None:
        """Another one in place of one that was refused; None when there is none."""
        del refused
        return None


class Gateway:
    """One gateway, called as the one whom `tokens` tell. Close it, or use it in a `with`."""

    def __init__(self, url: str, tokens: Tokens | None = None) -> None:
        self.url = url
        self.tokens = tokens or Tokens()
        self.correlation_id = uuid.uuid4().hex
        self._client = httpx.Client(
            base_url=url,
            headers={"X-Correlation-ID": self.correlation_id, "User-Agent": "girih"},
            timeout=_TIMEOUT,
            follow_redirects=False,
            verify=_trusted(url),
            # A proxy is for the world outside.
            trust_env=urlsplit(url).hostname not in LOOPBACK,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._client.close()

    def get(self, path: str, **params: Json) -> Json:
        return self._call("GET", path, params=params)

    def post(self, path: str, body: Json, options: Mapping[str, str] | None = None) -> Json:
        """`options` are those of the command, by the fields of the body: errors name them."""
        try:
            return self._call("POST", path, content=_encoded(body))
        except Refused as refused:
            raise refused.naming(options or {}) from None

    def patch(self, path: str, body: Json) -> Json:
        return self._call("PATCH", path, content=_encoded(body))

    def put(self, path: str, body: Json) -> Json:
        return self._call("PUT", path, content=_encoded(body))

    def delete(self, path: str, **params: str | int | bool | None) -> Json:
        return self._call("DELETE", path, params=params)

    def content(self, path: str, **params: str) -> bytes:
        """An answer that is no JSON, whole."""
        with self.opened("GET", path, params=params) as response, self.guarded():
            return response.read()

    def posted_content(self, path: str, body: Json) -> bytes:
        """The same of what a body asks for."""
        with self.opened("POST", path, content=_encoded(body)) as response, self.guarded():
            return response.read()

    def upload(
        self,
        path: str,
        pieces: Iterable[bytes],
        headers: Mapping[str, str],
        timeout_s: float,
        params: Mapping[str, Json],
        method: str = "PUT",
    ) -> Json:
        """Send a body piece by piece; its answer may take so long once all is sent.

        It cannot be sent again: whoever calls has called something else just before, which made
        sure that the token is good.
        """
        with (
            self.opened(
                method,
                path,
                params=params,
                content=pieces,
                headers=headers,
                read_timeout_s=timeout_s,
            ) as response,
            self.guarded(),
        ):
            response.read()
            return _decoded(response, self.url)

    def check_alive(self) -> None:
        """Raise Away unless somebody answers, and Failed unless it is a gateway: before anything is
        asked of a person, and before it is sent to a stranger."""
        with self.guarded():
            try:
                response = self._client.get("/health/live", timeout=_SILENCE_S + _ALIVE_S)
            except httpx.ReadTimeout as error:
                raise self._hung() from error
        # Every answer of a gateway has it, whatever stands before the gateway shows of /health.
        is_ours = response.headers.get("X-Correlation-ID") == self.correlation_id
        if not is_ours and ErrorBody.of(response.status_code, _json_or_none(response), "") is None:
            raise stranger(self.url)

    def _call(self, method: str, path: str, **request: Any) -> Json:  # noqa: ANN401 - as httpx
        """The answer's JSON. Raises Refused and Away."""
        with self.opened(method, path, **request) as response, self.guarded():
            response.read()
            return _decoded(response, self.url)

    def pages(self, path: str, name: str, **params: str) -> Iterator[Json]:
        """Everything that a paged list holds, page after page."""
        token = ""
        while True:
            page = self.get(path, pageSize=1_000, pageToken=token, **params)
            yield from page.get(name, [])
            token = page.get("nextPageToken", "")
            if not token:
                return

    def lines(
        self,
        method: str,
        path: str,
        **request: Any,  # noqa: ANN401 - as httpx
    ) -> Generator[str]:
        """The lines of an answer that is streamed as JSON lines, as they were sent."""
        headers = {"Accept": "application/x-ndjson"}
        with self.opened(method, path, headers=headers, **request) as response, self.guarded():
            yield from self.lines_of(response)

    def lines_of(self, response: httpx.Response) -> Iterator[str]:
        """The same of an answer that is open, under `guarded`."""
        for line in lines_of(response.iter_text()):
            if line.startswith('{"error":'):
                self.raise_error(response.status_code, _object_or_none(line))
            yield line

    @contextmanager
    def opened(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Json] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        read_timeout_s: float | None = None,
    ) -> Iterator[httpx.Response]:
        """An answer of 2xx whose body is still to be read, under `guarded`."""
        request = self._client.build_request(
            method,
            path,
            # An empty query would take the place of that of the path.
            params=_query(params or {}) or None,
            content=content,
            headers=headers,
            timeout=_timeout(read_timeout_s),
        )
        if content is not None:
            request.headers.setdefault("Content-Type", "application/json")
        response = self._sent(request)
        try:
            if response.is_success:
                yield response
            else:
                with self.guarded():
                    response.read()
                self.raise_error(response.status_code, _json_or_none(response))
        finally:
            response.close()

    def _sent(self, request: httpx.Request) -> httpx.Response:
        """Sent with a token, and once more with another when that is not valid any more."""
        with self.guarded():
            token = self.tokens.for_gateway()
            response = self._begun(_signed(request, token))
            if response.status_code != httpx.codes.UNAUTHORIZED or not token:
                return response
            response.read()
            if _reason(response) not in _STALE or (again := self.tokens.renewed(token)) is None:
                return response
            return self._begun(_signed(request, again))

    def _begun(self, request: httpx.Request) -> httpx.Response:
        """The head of the answer. A call may take its time, as long as the gateway lives."""
        begun: Future[httpx.Response] = Future()
        threading.Thread(target=self._send, args=(request, begun), daemon=True).start()
        try:
            return begun.result(_SILENCE_S)
        except TimeoutError:
            if not begun.done() and not self._lives():
                raise self._hung() from None
        return begun.result()

    def _send(self, request: httpx.Request, begun: "Future[httpx.Response]") -> None:
        try:
            begun.set_result(self._client.send(request, stream=True))
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
            begun.set_exception(error)

    def _lives(self) -> bool:
        """Whether the gateway answers at all; one that refuses another connection is busy."""
        try:
            self._client.get("/health/live", timeout=_ALIVE_S)
        except (httpx.ReadTimeout, httpx.ConnectTimeout):
            return False
        except httpx.HTTPError:
            return True
        return True

    def _hung(self) -> Away:
        waited_s = _SILENCE_S + _ALIVE_S
        message = f"{self.url} takes connections and does not answer for {waited_s:g} s: it hangs"
        message = f"{message}, or is no girih. Here: girih status, girih restart"
        return Away(message, was_sent=True, hangs=True)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Failures of the network in this block as Away."""
        try:
            yield
        except httpx.ConnectTimeout as error:
            message = f"{self.url} does not answer within {_TIMEOUT.connect:g} s"
            raise Away(message, was_sent=False) from error
        except httpx.ConnectError as error:
            raise Away(self._nobody(error), was_sent=False) from error
        except httpx.TimeoutException as error:
            raise Away(f"{self.url} does not answer in time", was_sent=True) from error
        except (httpx.TransportError, httpx.StreamError) as error:
            message = f"{self.url} broke off: {printable(str(error))}"
            raise Away(message, was_sent=True) from error

    def _nobody(self, error: httpx.ConnectError) -> str:
        """Why nobody could be called, in words, and what to do."""
        reason = printable(re.sub(r"^\[Errno -?\d+\] ", "", str(error))).lower()
        message = f"{self.url} does not answer: {reason}"
        if urlsplit(self.url).hostname in LOOPBACK:
            return f"{message}. girih is not running there; start it: girih up"
        return message

    def raise_error(self, status: int, body: Json) -> None:
        """Raise what an error's body says."""
        error = ErrorBody.of(status, body, self.correlation_id)
        if error is None:
            message = f"{self.url} answers {status}, and not as a gateway of girih does"
            raise Failed(message, exit_codes.UNAVAILABLE)
        raise error.refusal()


def _trusted(url: str) -> ssl.SSLContext:
    """Who may answer. Reading the authorities takes longer than a call: only for https."""
    if urlsplit(url).scheme == "https":
        return httpx.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody


_STALE = {"TOKEN_EXPIRED", "TOKEN_INVALID"}


def _signed(request: httpx.Request, token: str) -> httpx.Request:
    if token:
        request.headers["Authorization"] = f"Bearer {token}"
    return request


def _reason(response: httpx.Response) -> str:
    error = ErrorBody.of(response.status_code, _json_or_none(response), "")
    return error.reason if error else ""


def _encoded(body: Json) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def _decoded(response: httpx.Response, url: str) -> Json:
    if (answer := _json_or_none(response)) is None:
        raise stranger(url)
    return answer


def _json_or_none(response: httpx.Response) -> Json:
    """The object that is answered, which all answers are; None for what is no JSON object."""
    return _object_or_none(response.content)


def _object_or_none(text: str | bytes) -> Json:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def stranger(url: str) -> Failed:
    """Who answers is no girih."""
    return Failed(f"{url} does not answer as a gateway of girih does", exit_codes.UNAVAILABLE)


def _query(params: Mapping[str, Json]) -> dict[str, str | list[str]]:
    """The parameters that say something, as proto3 JSON writes them."""
    return {
        name: [_text(item) for item in value] if isinstance(value, list) else _text(value)
        for name, value in params.items()
        if value is not None and value != ""
    }


def _text(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _timeout(read_s: float | None) -> httpx.Timeout:
    if read_s is None:
        return _TIMEOUT
    return httpx.Timeout(connect=_TIMEOUT.connect, read=read_s, write=_TIMEOUT.write, pool=5.0)
