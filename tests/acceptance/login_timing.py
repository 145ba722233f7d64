"""Whether the time or the answer of a failed login tells that an address is known."""

import json
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.http_load import Answer, Connections, request

PASSWORD = "girih-test-password-3141"
ONE_PROXY = {"GATEWAY_TRUSTED_PROXIES": "127.0.0.1/32"}
"""Makes the gateway believe the addresses that the load names for its callers."""

UNAUTHORIZED = 401
_CREATED = 201
_VOLATILE = frozenset({"correlation_id", "timestamp"})
_VOLATILE_HEADERS = ("x-correlation-id", "date", "ratelimit-")

Shown = tuple[int, tuple[tuple[str, str], ...], str]
"""What an answer shows of itself: status, headers, body."""


@dataclass
class Timed:
    """What was measured of one kind of attempt."""

    durations_s: list[float] = field(default_factory=list)
    answers: set[Shown] = field(default_factory=set)

    def took(self, duration_s: float, answer: Answer) -> None:
        self.durations_s.append(duration_s)
        self.answers.add(_shown(answer))


async def time_logins(
    url: str, attempt_count: int, account_count: int, dice: random.Random
) -> tuple[Timed, Timed]:
    """So many attempts with addresses that nobody has, and so many with a wrong password.

    One at a time, in random order, each from an address of its own: no limit is in the way.
    """
    users = [f"user-{number}@girih.test" for number in range(account_count)]
    strangers = [f"none-{number}@girih.test" for number in range(account_count)]
    async with Connections(url, count_max=1) as connections:
        await register(connections, users)
        unknown, known = Timed(), Timed()
        attempts = [
            (timed, email)
            for timed, emails in ((unknown, strangers), (known, users))
            for email in _repeated(emails, attempt_count)
        ]
        dice.shuffle(attempts)
        addresses = callers_of(dice)
        for timed, email in attempts:
            attempt = login(email, "not-the-password-2718", next(addresses))
            began_s = time.perf_counter()
            answer = await connections.ask(attempt)
            timed.took(time.perf_counter() - began_s, answer)
    return unknown, known


async def register(connections: Connections, emails: Iterable[str]) -> None:
    """Make users with the password of all tests."""
    for email in emails:
        body = {"email": email, "password": PASSWORD, "name": email.partition("@")[0]}
        answer = await connections.ask(request("POST", "/auth/register", {}, body))
        assert answer.status == _CREATED, answer


def login(email: str, password: str, address: str) -> bytes:
    """A login from a caller at some address."""
    body = {"email": email, "password": password}
    return request("POST", "/auth/login", {"x-forwarded-for": address}, body)


def callers_of(dice: random.Random) -> Iterator[str]:
    """Addresses of callers, hardly ever one twice."""
    while True:
        yield f"10.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(1, 255)}"


def _repeated(emails: list[str], count: int) -> Iterator[str]:
    return (emails[number % len(emails)] for number in range(count))


def _shown(answer: Answer) -> Shown:
    """Without what differs from request to request by design."""
    headers = [
        (name, value)
        for name, value in sorted(answer.headers.items())
        if not name.startswith(_VOLATILE_HEADERS)
    ]
    body = json.dumps(_lasting(json.loads(answer.body)), sort_keys=True)
    return answer.status, tuple(headers), body


def _lasting(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _lasting(one) for name, one in value.items() if name not in _VOLATILE}
