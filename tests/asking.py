"""Asks again what a service that is away for a moment refuses, as callers are told to do."""

import time
from collections.abc import Callable
from http import HTTPStatus

import httpx

_ATTEMPTS_MAX = 10


def served(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The first answer that is not 503, or the last of so many."""
    for _ in range(_ATTEMPTS_MAX - 1):
        response = ask()
        if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
            return response
        time.sleep(float(response.headers["Retry-After"]))
    return ask()
