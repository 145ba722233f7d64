"""Where tokens come from: an API key, or the session that `girih login` keeps.

Each gives a `girih.client.tokens.Renew`. They block, on the network and on the file's lock.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import grpc

from girih.client.connecting.transport import Transport
from girih.client.errors import GirihError, NotLoggedIn, Refusal, Unauthenticated, Unavailable
from girih.client.tokens import Grant, Renew
from girih.credentials import Busy, Credential, CredentialsFile, Unusable, is_sendable
from girih.servers import Server

_MARGIN_S: Final = 60.0
"""A session's token that is valid for less is renewed: it shall outlive the call it is for."""

_VALID_S_MAX: Final = 1e9

# Within ten seconds the gateway answers the same refresh token alike, so that an answer that was
# lost can be asked for again.
_ATTEMPT_COUNT: Final = 3
_PAUSE_S: Final = 0.25


def of_key(key: str, url: str, transport: Transport) -> Renew:
    """What an API key is traded for. Raises ValueError for what is no key."""
    if not is_sendable(key):
        raise ValueError("api_key must be printable ASCII without spaces")
    transport.check_url(url)

    def renew(_refused: str) -> Grant:
        return _grant(_post(url, "/auth/token", {"key": key}, transport))

    return renew


def of_login(server: Server, file: CredentialsFile, transport: Transport) -> Renew:
    """The tokens of the session that was opened at `server`; shared with the command and with
    other programs, which take turns at the file. Raises NotLoggedIn when there is none."""
    transport.check_url(server.url)

    def renew(refused: str) -> Grant:
        with _explained(), file.locked() as sessions:
            profile = server.profile_in(sessions)
            if profile is None:
                raise _not_logged_in(f"nobody is logged in at {server.url}: girih login")
            held = sessions[profile]
            if held.access_token == refused or not held.is_fresh(_MARGIN_S):
                held = sessions[profile] = _refreshed(held, server.url, transport)
        return Grant(held.access_token, held.expires_at_s - time.time())

    return renew


def of_nobody(why: str) -> Renew:
    """For a client that has nothing to call with; every call tells `why`."""

    def renew(_refused: str) -> Grant:
        raise _not_logged_in(why)

    return renew


def _refreshed(held: Credential, url: str, transport: Transport) -> Credential:
    body = {"refresh_token": held.refresh_token}
    for attempt in range(_ATTEMPT_COUNT):
        try:
            answer = _post(url, "/auth/refresh", body, transport)
        except Unavailable:
            if attempt == _ATTEMPT_COUNT - 1:
                raise
            time.sleep(_PAUSE_S)
        except Unauthenticated as error:
            raise _not_logged_in(f"the session at {url} has ended: girih login") from error
        else:
            break
    grant = _grant(answer)
    return replace(
        held,
        access_token=grant.token,
        refresh_token=_secret(answer, "refresh_token"),
        expires_at_s=time.time() + grant.valid_s,
    )


def _post(url: str, path: str, body: Mapping[str, str], transport: Transport) -> Mapping[str, Any]:
    # Imported with the first token: HTTP is a third of what importing the client would take.
    from girih.client.connecting import gateway

    return gateway.post(url, path, body, transport)


def _grant(answer: Mapping[str, Any]) -> Grant:
    valid_s = answer.get("expires_in")
    if not isinstance(valid_s, int | float) or not 0 < valid_s <= _VALID_S_MAX:
        raise _no_token()
    return Grant(_secret(answer, "access_token"), float(valid_s))


def _secret(answer: Mapping[str, Any], name: str) -> str:
    secret = answer.get(name)
    if not isinstance(secret, str) or not secret or not is_sendable(secret):
        raise _no_token()
    return secret


def _no_token() -> GirihError:
    message = "the gateway answers no token"
    return GirihError(Refusal(code=grpc.StatusCode.UNKNOWN, message=message))


def _not_logged_in(message: str) -> NotLoggedIn:
    code = grpc.StatusCode.UNAUTHENTICATED
    return NotLoggedIn(Refusal(code=code, message=message, reason="NOT_LOGGED_IN"))


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except Busy as error:
        code = grpc.StatusCode.UNAVAILABLE
        raise Unavailable(Refusal(code=code, message=str(error))) from error
    except Unusable as error:
        raise _not_logged_in(str(error)) from error
