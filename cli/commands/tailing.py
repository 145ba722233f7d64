"""Follows a log live, through the gateway, for as long as it takes.

A connection that breaks is made again and goes on behind the last event seen: each event
comes once, in order. A token that expires is replaced.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from cli.client.lines import lines_of
from cli.client.rest import STREAM_READ_S, Gateway, Refused
from cli.client.sse import server_events
from cli.failure import Failed
from girih.backoff import Backoff

if TYPE_CHECKING:
    from httpx import Response

Params = Mapping[str, str | int | bool | None]
"""What the gateway is asked for, beside where to begin once it is known."""

_BACKOFF_MIN_S = 0.2
_BACKOFF_MAX_S = 10.0


def followed(
    gateway: Gateway, path: str, params: Params, say: Callable[[str], None]
) -> Iterator[str]:
    """The events of a stream of the gateway's, each as its JSON text, for ever.

    What goes wrong before the first connection is raised; later, a gateway that is away is
    waited for, and `say` gets a line about it. Raises Failed for what does not pass.
    """
    run = _Following(gateway, path, params, say)
    while True:
        yield from run.until_broken()


class _Following:
    def __init__(
        self, gateway: Gateway, path: str, params: Params, say: Callable[[str], None]
    ) -> None:
        self._gateway = gateway
        self._path = path
        self._params = params
        self._say = say
        self._last_id = ""
        self._was_connected = False
        self._backoff = Backoff(_BACKOFF_MIN_S, _BACKOFF_MAX_S)

    def until_broken(self) -> Iterator[str]:
        """The events of one connection. Returns when it is time for the next."""
        try:
            yield from self._events()
        except Failed as error:
            self._wait_or_raise(error)
        else:
            # Whoever ends streams as soon as they begin is not to be asked all the time.
            time.sleep(_BACKOFF_MIN_S)

    def _events(self) -> Iterator[str]:
        with self._opened() as response, self._gateway.guarded():
            if self._backoff.count:
                self._say(f"{self._gateway.url} is back")
            self._was_connected = True
            self._backoff.reset()
            for event in server_events(lines_of(response.iter_text())):
                if event.kind == "error":
                    self._gateway.raise_error(response.status_code, json.loads(event.data))
                # Also of what tells how far the stream is.
                self._last_id = event.id
                if event.kind == "message":
                    yield event.data

    def _opened(self) -> "AbstractContextManager[Response]":
        headers = {"Accept": "text/event-stream"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        return self._gateway.opened(
            "GET",
            self._path,
            params=self._params,
            headers=headers,
            read_timeout_s=STREAM_READ_S,
        )

    def _wait_or_raise(self, error: Failed) -> None:
        """Wait for what may pass; raise what does not."""
        if self._was_connected and isinstance(error, Refused) and error.reason == "TOKEN_EXPIRED":
            # A stream ends with its token. The next one is opened with another.
            time.sleep(_BACKOFF_MIN_S)
            return
        if not self._was_connected or not error.may_pass:
            raise error
        if not self._backoff.count:
            self._say(f"{str(error).splitlines()[0]}; trying again")
        asked_s = error.error.retry_after_s if isinstance(error, Refused) else None
        time.sleep(self._backoff.next_s(asked_s))
