"""Tokens for calls: those of the session that is logged in, or those of an API key.

Two commands at once never spend the same refresh token: they take turns, and the second finds
what the first was given.
"""

import time
from collections.abc import Mapping
from dataclasses import replace

from cli import exit_codes
from cli.client.credentials import Credential, CredentialsFile, default_path
from cli.client.rest import Gateway, Json, Refused, Tokens, stranger
from cli.failure import Away, Failed, NotLoggedIn
from girih.credentials import is_sendable
from girih.servers import Server

MARGIN_S = 60.0
"""A token that expires sooner is replaced: it shall outlive the call that it is for."""

# Within this time the gateway answers the same refresh token alike, so that an answer that
# was lost can be asked for again.
_SAME_ANSWER_S = 8.0
_PAUSE_S = 0.25


def chosen(server: Server, environ: Mapping[str, str]) -> Tokens:
    """The tokens of `GIRIH_API_KEY`, or of who is logged in at this very server."""
    if key := environ.get("GIRIH_API_KEY"):
        return KeyTokens(server.url, key)
    return SessionTokens(server, CredentialsFile(default_path(environ)))


class SessionTokens(Tokens):
    """The access tokens of a session, refreshed when they are about to expire.

    Raises NotLoggedIn when there is no session or it has ended, and Away.
    """

    def __init__(self, server: Server, file: CredentialsFile) -> None:
        self._server = server
        self._url = server.url
        self._file = file
        self._held: Credential | None = None

    def for_gateway(self) -> str:
        if self._held is None:
            sessions = self._file.read()
            self._held = sessions[self._profile_in(sessions)]
        if self._held.is_fresh(MARGIN_S):
            return self._held.access_token
        return self._replaced(self._held)

    def for_services(self) -> str:
        return self.for_gateway()

    def renewed(self, refused: str) -> str | None:
        held = self._held
        return None if held is None else self._replaced(held, refused=refused)

    def _replaced(self, held: Credential, refused: str = "") -> str:
        """A token that is fresh, from the file or from the gateway."""
        try:
            self._held = self._exchanged(refused)
        except Failed as error:
            # While it is valid, a gateway that is away for a moment is no reason to stop.
            if (
                (isinstance(error, Away) and error.hangs)
                or refused
                or not error.may_pass
                or not held.is_fresh(0.0)
            ):
                raise
        return (self._held or held).access_token

    def _exchanged(self, refused: str) -> Credential:
        with self._file.locked() as sessions:
            profile = self._profile_in(sessions)
            credential = sessions[profile]
            if credential.access_token != refused and credential.is_fresh(MARGIN_S):
                return credential  # another command was faster
            try:
                tokens = _refreshed(self._url, credential.refresh_token)
            except Refused as error:
                if error.error.code != "UNAUTHENTICATED":
                    raise
                del sessions[profile]
                raise NotLoggedIn(self._url, "the session has ended") from error
            sessions[profile] = with_tokens(self._url, credential, tokens)
            return sessions[profile]

    def _profile_in(self, sessions: Mapping[str, Credential]) -> str:
        if (profile := self._server.profile_in(sessions)) is None:
            raise NotLoggedIn(self._url)
        return profile


class KeyTokens(Tokens):
    """An API key: taken by the gateway as it is, and traded for what the services take."""

    def __init__(self, url: str, key: str) -> None:
        if not is_sendable(key):
            raise Failed("GIRIH_API_KEY is no API key", exit_codes.CONFIG)
        self._url = url
        self._key = key
        self._held: Credential | None = None

    def for_gateway(self) -> str:
        return self._key

    def for_services(self) -> str:
        held = self._held
        if held is None or not held.is_fresh(MARGIN_S):
            try:
                with Gateway(self._url) as gateway:
                    self._held = credential(
                        self._url, gateway.post("/auth/token", {"key": self._key})
                    )
            except Failed as error:
                if held is None or not error.may_pass or not held.is_fresh(0.0):
                    raise
        assert self._held is not None
        return self._held.access_token


class FixedToken(Tokens):
    """A token that somebody else made."""

    def __init__(self, token: str) -> None:
        self._token = token

    def for_gateway(self) -> str:
        return self._token

    def for_services(self) -> str:
        return self._token


def credential(url: str, answer: Json, server: Server | None = None) -> Credential:
    """What an answer of `server`, which is at `url`, gives to be kept; raises Failed when there
    are no tokens in it."""
    try:
        user, tenant = answer.get("user") or {}, answer.get("tenant") or {}
        return Credential(
            access_token=answer["access_token"],
            refresh_token=answer.get("refresh_token", ""),
            expires_at_s=time.time() + answer["expires_in"],
            email=user.get("email", ""),
            tenant_id=tenant.get("tenantId", ""),
            tenant_name=tenant.get("name", ""),
            url=server.url if server else "",
            data_dir=str((server and server.data_dir) or ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise stranger(url) from error


def with_tokens(url: str, held: Credential, answer: Json) -> Credential:
    """The same session with its next pair of tokens."""
    new = credential(url, answer)
    return replace(
        held,
        access_token=new.access_token,
        refresh_token=new.refresh_token or held.refresh_token,
        expires_at_s=new.expires_at_s,
    )


def _refreshed(url: str, refresh_token: str) -> Json:
    deadline = time.monotonic() + _SAME_ANSWER_S
    was_sent = False
    while True:
        try:
            with Gateway(url) as gateway:
                return gateway.post("/auth/refresh", {"refresh_token": refresh_token})
        except Away as error:
            was_sent |= error.was_sent
            if not was_sent or error.hangs or time.monotonic() + _PAUSE_S > deadline:
                raise
            time.sleep(_PAUSE_S)
