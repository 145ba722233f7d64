"""Asks again what a service that is away for a moment refuses, as callers are told to do."""

import re
import subprocess
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

import httpx

from cli import exit_codes

_ATTEMPTS_MAX = 10
_COME_BACK = re.compile(r"try again in (\S+) s$", re.MULTILINE)


def served(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The first answer that is not 503, or the last of so many."""
    for _ in range(_ATTEMPTS_MAX - 1):
        response = ask()
        if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
            return response
        response.read()
        time.sleep(float(response.headers["Retry-After"]))
    return ask()


def done(
    run: Callable[[], "subprocess.CompletedProcess[str]"],
) -> "subprocess.CompletedProcess[str]":
    """The same of a command: its first end that does not tell to come back, or the last."""
    for _ in range(_ATTEMPTS_MAX - 1):
        ended = run()
        pause = _COME_BACK.search(ended.stderr)
        if ended.returncode != exit_codes.UNAVAILABLE or pause is None:
            return ended
        time.sleep(float(pause[1]))
    return run()


def patient_client(url: str, headers: Mapping[str, str] | None = None) -> httpx.Client:
    """A client that asks so for whatever it is given, and waits long for each answer."""
    return httpx.Client(base_url=url, headers=headers, timeout=60, transport=_Asking())


class _Asking(httpx.HTTPTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        ask = super().handle_request
        if not isinstance(request.stream, httpx.ByteStream):
            return ask(request)  # what is sent as it is made is there once
        return served(lambda: ask(request))
