"""Passwords: which are taken, that every character of them counts, and that hashing is bounded."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import extract_parameters

from gateway.accounts.errors import HashingBusy
from gateway.accounts.secrets.hasher import Hasher
from gateway.accounts.secrets.passwords import (
    CHARS_MAX,
    CHARS_MIN_DEVELOPMENT,
    CHARS_MIN_PRODUCTION,
    PasswordHashing,
    Verdict,
    check_password,
)
from gateway.http.caller import enter_address
from services.plumbing.beside.process import WorkFailed
from services.plumbing.errors import Violations
from tests.plumbing.beside.children import children_that_run

A_LITTLE_KIB = 64
WIDE = "".join(chr(ord(char) + 0xFEE0) for char in "passwordpassword")
COMPOSED, TAKEN_APART = "a caf\u00e9 of stars", "a cafe\u0301 of stars"


@pytest.fixture
async def hashing() -> AsyncIterator[PasswordHashing]:
    # However busy the machine is, the tests know which process has the password.
    made = PasswordHashing(
        thread_count=1, queue_max=2, memory_kib=A_LITTLE_KIB, replaced_after_s=3_600.0
    )
    yield made
    await made.close()


def is_taken(password: str, chars_min: int = CHARS_MIN_PRODUCTION, *taken: str) -> bool:
    violations = Violations()
    check_password(password, violations, chars_min=chars_min, taken=taken)
    return not violations


@pytest.mark.parametrize(
    "password",
    [
        "a strapwork of stars",
        "x7-Kq 9mZp:wRt!vB",
        "пароль из звёзд",
        "🌟✨💫⭐🔭" * 2 + "stars",
        "五个汉字的密码在这里不够长吗?",
        "nul\x00 in the middle of it",
        "long " * 12 + "and not the same",
        "vt" + "aq8" * 340 + "vt",
    ],
    ids=range(8),
)
def test_passwords_of_all_characters_are_taken(password: str) -> None:
    assert is_taken(password)


@pytest.mark.parametrize(
    "password",
    [
        "", "fourteen bytes", "x" * (CHARS_MAX + 1), "passwordpassword", "Password1234567",
        "PASSWORD IS PASSWORD", "aaaaaaaaaaaaaaaa", "abcabcabcabcabcabc", "123456789012345",
        "qwertyuiopasdfgh", "Correct Horse Battery Staple", "!!!!administrator!!!!",
        "98765432109876543210", WIDE,
    ],
    ids=range(14),
)  # fmt: skip
def test_passwords_that_everybody_knows_are_refused(password: str) -> None:
    assert not is_taken(password)


@pytest.mark.parametrize(
    "password",
    ["三人行必有", "🌟✨💫⭐🔭", "e\u0301" * 7 + "e", "é" * 7 + "e\u0301" * 7],
    ids=range(4),
)
def test_what_is_counted_are_characters_and_not_bytes(password: str) -> None:
    assert len(password.encode()) >= CHARS_MIN_PRODUCTION

    assert not is_taken(password)


@pytest.mark.parametrize("char", ["\u0378", "\U0010ffff", "\U0001d455"])
def test_a_character_that_unicode_may_yet_define_is_refused(char: str) -> None:
    assert not is_taken(f"a strapwork of stars {char}")


@pytest.mark.parametrize("password", ["ADA@girih.dev...", "Ada of the Knots"])
def test_a_name_is_no_password(password: str) -> None:
    assert not is_taken(password, CHARS_MIN_PRODUCTION, "ada@girih.dev...", "ada of the knots")


def test_development_takes_short_ones() -> None:
    assert is_taken("test123", CHARS_MIN_DEVELOPMENT)
    assert not is_taken("test123")
    assert not is_taken("123456", CHARS_MIN_DEVELOPMENT)


async def test_hashes_are_argon2id_with_the_parameters_that_are_asked_for() -> None:
    hashing = PasswordHashing(thread_count=1, queue_max=0)
    result = extract_parameters(await hashing.hash("a strapwork of stars"))
    await hashing.close()

    assert result.type.name == "ID"
    assert (result.memory_cost, result.time_cost, result.parallelism) == (19_456, 2, 1)


@pytest.mark.parametrize(
    ("password", "almost"),
    [
        ("x" * 72 + "a", "x" * 72 + "b"),
        ("x" * 1_023 + "a", "x" * 1_023 + "b"),
        ("nul\x00one", "nul\x00two"),
        ("caf\u00e9 of stars", "cafe of stars"),
        ("x\u00b2 of the stars", "x2 of the stars"),
        ("trailing ", "trailing"),
    ],
    ids=range(6),
)
async def test_every_character_counts(hashing: PasswordHashing, password: str, almost: str) -> None:
    result = await hashing.hash(password)

    assert await hashing.verify(password, result) == Verdict(is_right=True)
    assert await hashing.verify(almost, result) == Verdict(is_right=False)


@pytest.mark.parametrize(
    ("password", "same"),
    [
        ("caf\u00e9 of stars", "cafe\u0301 of stars"),
        ("\ud55c\uae00 of stars", "\u1112\u1161\u11ab\u1100\u1173\u11af of stars"),
        ("q\u0323\u0307 of stars", "q\u0307\u0323 of stars"),
        ("\u212bngstr\u00f6m", "A\u030angstro\u0308m"),
    ],
    ids=range(4),
)
async def test_two_ways_to_write_a_text_are_one_password(
    hashing: PasswordHashing, password: str, same: str
) -> None:
    for one, other in ((password, same), (same, password)):
        result = await hashing.hash(one)

        assert await hashing.verify(other, result) == Verdict(is_right=True)


@pytest.mark.parametrize("typed", [COMPOSED, TAKEN_APART], ids=["composed", "taken apart"])
@pytest.mark.parametrize("hashed", [COMPOSED, TAKEN_APART], ids=["composed", "taken apart"])
async def test_a_hash_of_old_fits_however_the_password_is_typed(
    hashing: PasswordHashing, hashed: str, typed: str
) -> None:
    of_old = Hasher(A_LITTLE_KIB).hash(hashed.encode())

    verdict = await hashing.verify(typed, of_old)

    assert verdict == Verdict(is_right=True, is_outdated=hashed == TAKEN_APART)


async def test_nobody_has_no_password(hashing: PasswordHashing) -> None:
    assert not (await hashing.verify("", None)).is_right


async def test_a_hash_of_other_parameters_is_outdated(hashing: PasswordHashing) -> None:
    of_others = Hasher(2 * A_LITTLE_KIB).hash(b"a strapwork of stars")

    verdict = await hashing.verify("a strapwork of stars", of_others)

    assert verdict == Verdict(is_right=True, is_outdated=True)


async def test_whoever_comes_too_late_is_refused_and_later_ones_are_not(
    hashing: PasswordHashing,
) -> None:
    answers = await asyncio.gather(
        *(hashing.hash(f"password {number}") for number in range(10)), return_exceptions=True
    )

    refused = [one for one in answers if isinstance(one, HashingBusy)]
    assert len(refused) == 7
    assert all(one.retry_after_s for one in refused)
    assert await hashing.hash("one more")


async def test_who_would_wait_for_too_long_is_refused_though_there_is_room() -> None:
    hashing = PasswordHashing(thread_count=1, queue_max=1_000, memory_kib=1_024, wait_s_max=0.01)
    for number in range(5):
        await hashing.hash(f"password {number}")

    answers = await asyncio.gather(
        *(hashing.hash(f"password {number}") for number in range(50)), return_exceptions=True
    )
    await hashing.close()

    refused = [one for one in answers if isinstance(one, HashingBusy)]
    assert 0 < len(refused) < 50
    assert all(one.retry_after_s for one in refused)


async def test_one_network_leaves_room_for_others(hashing: PasswordHashing) -> None:
    async def hashed(address: str) -> bool:
        enter_address(address)
        try:
            await hashing.hash("a password")
        except HashingBusy:
            return False
        return True

    greedy = ["192.0.2.1"] * 10 + ["2001:db8::1", "2001:db8::2", "2001:db8::3"]
    answers = await asyncio.gather(*(asyncio.create_task(hashed(one)) for one in greedy))

    # Of three places two are one network's at most.
    assert answers == [True] * 2 + [False] * 8 + [True] + [False] * 2
    assert not hashing._pending_of


async def test_who_goes_away_makes_room_once_the_work_is_done(hashing: PasswordHashing) -> None:
    for _ in range(5):
        waiting = [asyncio.ensure_future(hashing.hash("a password")) for _ in range(3)]
        await asyncio.sleep(0)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    async with asyncio.timeout(60):
        while hashing.pending_count:  # noqa: ASYNC110 - a thread ends
            await asyncio.sleep(0.01)


async def test_a_hasher_that_dies_gives_up_its_places_and_another_follows(
    hashing: PasswordHashing,
) -> None:
    await hashing.hash("a password")
    waiting = [asyncio.ensure_future(hashing.hash("a password")) for _ in range(3)]
    await asyncio.sleep(0)
    (hasher,) = hashers()
    os.kill(hasher, signal.SIGKILL)

    answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert all(isinstance(one, HashingBusy | str) for one in answers)
    assert not hashing.pending_count
    async with asyncio.timeout(60):
        while not await is_hashing(hashing):  # noqa: ASYNC110 - a process starts
            await asyncio.sleep(0.02)
    assert hashers() != [hasher]


async def is_hashing(hashing: PasswordHashing) -> bool:
    with contextlib.suppress(HashingBusy):
        return bool(await hashing.hash("a password"))
    return False


def hashers() -> list[int]:
    return children_that_run("gateway.accounts.secrets.hasher")


@pytest.mark.skipif(sys.platform != "linux", reason="others have no such policy")
async def test_hashing_gives_way_to_everything_else(hashing: PasswordHashing) -> None:
    await hashing.hash("a password")

    (hasher,) = hashers()
    assert {os.sched_getscheduler(thread) for thread in threads_of(hasher)} == {os.SCHED_IDLE}


@pytest.mark.skipif(sys.platform != "linux", reason="others have no such policy")
async def test_a_password_is_hashed_though_other_work_leaves_nothing_of_any_core(
    hashing: PasswordHashing,
) -> None:
    await hashing.hash("a password")
    (starved,) = hashers()
    os.kill(starved, signal.SIGSTOP)
    hashing._replaced_after_s = 0.05

    async with asyncio.timeout(60):
        assert await hashing.hash("another password")

    (sharing,) = set(hashers()) - {starved}
    assert os.sched_getscheduler(sharing) == os.SCHED_OTHER
    expected = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
    assert os.getpriority(os.PRIO_PROCESS, sharing) == expected


async def test_no_password_is_in_the_words_of_the_processes(hashing: PasswordHashing) -> None:
    await hashing.hash("a strapwork of stars")

    (hasher,) = hashers()
    assert "strapwork" not in words_of(hasher)
    with pytest.raises(WorkFailed) as failure:
        await hashing.verify("a strapwork of stars", "no hash of a strapwork")
    assert "strapwork" not in str(failure.value)


def words_of(pid: int) -> str:
    """What everybody on the machine can see of a process."""
    folder = Path(f"/proc/{pid}")
    return (folder / "cmdline").read_text() + (folder / "environ").read_text()


def threads_of(pid: int) -> list[int]:
    return [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
