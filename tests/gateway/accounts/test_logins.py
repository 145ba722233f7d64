"""Logins under load: what answers look like from outside, and how many are taken on."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from gateway.accounts.errors import CredentialsInvalid, HashingBusy
from gateway.accounts.secrets import passwords
from gateway.http.caller import enter_address
from services.plumbing.pace import Pace
from tests.authority import Authority
from tests.gateway.accounts.replicas import Replica, fresh_email, open_replica
from tests.processes import Process

TRIES = 60


@pytest.fixture
async def replica(
    event_store: tuple[Process, str], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Replica]:
    """One that hashes as in production, and with as short a queue; but when it is asked to, and not
    when nothing else wants the core: that is hardly ever on a machine that runs tests."""
    monkeypatch.setattr(passwords, "NICENESS_MAX", 0)
    async with open_replica(
        event_store[1],
        authority,
        HASHING_MEMORY_KIB=str(passwords.MEMORY_KIB),
        HASHING_QUEUE_MAX="20",
    ) as made:
        yield made


async def test_a_flood_of_logins_is_refused_beyond_a_short_queue(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How long they would wait is in the way of fewer, where the machine is slow.
    monkeypatch.setattr(Pace, "expected_s", lambda _pace, _count: 0.0)
    registered = await replica.register()

    answers = await asyncio.gather(
        *(_failing(replica, number) for number in range(80)), return_exceptions=True
    )

    answer = Counter(type(one) for one in answers)
    assert answer.keys() == {CredentialsInvalid, HashingBusy}
    assert answer[CredentialsInvalid] >= 20
    # Whoever was refused for want of room was not judged, and has no failure to their name.
    await replica.login(registered.user.email)


async def test_an_unknown_address_takes_as_long_as_a_wrong_password(replica: Replica) -> None:
    known = [(await replica.register()).user.email for _ in range(4)]
    dice = random.Random(1)
    times: dict[bool, list[float]] = {True: [], False: []}

    for number in range(TRIES):
        enter_address(f"10.0.{number}.1")
        for is_known in dice.sample([True, False], 2):
            email = dice.choice(known) if is_known else fresh_email()
            times[is_known].append(await _time_of_failure(replica, email))

    # The chance that a failed login of the one kind takes longer than one of the other: a half
    # when nothing can be told from it. A shortcut for unknown addresses gives 0 or 1.
    longer = sum(one > other for one in times[True] for other in times[False])
    assert 0.3 < longer / TRIES**2 < 0.7


async def test_a_password_set_in_another_form_of_unicode_logs_in_and_is_hashed_anew(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(passwords, "normalized", str)
        user = (await replica.register(password="un cafe\u0301 d'e\u0301toiles")).user
    hashes = [await _hash_of(replica, user.user_id)]

    for _ in range(2):
        await replica.login(user.email, password="un caf\u00e9 d'\u00e9toiles")
        hashes.append(await _hash_of(replica, user.user_id))

    assert hashes[0] != hashes[1] == hashes[2]


async def _hash_of(replica: Replica, user_id: str) -> str:
    user = await replica.accounts.servicer._store.user(user_id)
    assert user is not None
    return user.password_hash


async def _failing(replica: Replica, number: int) -> None:
    enter_address(f"10.1.{number}.1")
    await replica.login(fresh_email())


async def _time_of_failure(replica: Replica, email: str) -> float:
    started_s = time.perf_counter()
    with pytest.raises(CredentialsInvalid):
        await replica.login(email, password="not this one at all")
    return time.perf_counter() - started_s
