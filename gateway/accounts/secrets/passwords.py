"""Passwords: which ones are taken, and how they are hashed without stopping anything else."""

import asyncio
import contextlib
import os
import re
import sys
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from gateway.accounts.errors import HashingBusy
from gateway.http.caller import UNKNOWN, caller_address, network_of
from services.plumbing.errors import Violations

R = TypeVar("R")

CHARS_MIN_PRODUCTION: Final = 15
CHARS_MIN_DEVELOPMENT: Final = 6
CHARS_MAX: Final = 1_024
"""Lengths are in Unicode code points."""

_MEMORY_KIB: Final = 19 * 1_024
_TIME_COST: Final = 2
_PARALLELISM: Final = 1

_NICER_BY = 10
_NICENESS_MAX = 19
_RETRY_AFTER_S = 1.0
_COMMON = Path(__file__).with_name("common_passwords.txt")

_NO_CHARACTERS = {"Cn", "Cs"}
"""Not assigned, and halves of a pair."""

_repeated = re.compile(r"(.{1,5}?)\1+(?!.)", re.DOTALL).fullmatch
_RUNS = ("01234567890123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm")


def check_password(
    password: str,
    violations: Violations,
    field_name: str = "password",
    *,
    chars_min: int,
    taken: tuple[str, ...] = (),
) -> None:
    """Long enough, and neither one that everybody knows nor one of `taken`.

    Every character is allowed that Unicode has, and counts; nothing is composed of rules,
    trimmed or cut off. It is counted as it will be hashed.
    """
    text = normalized(password)
    if not chars_min <= len(text) <= CHARS_MAX:
        violations.add(field_name, f"must be {chars_min} to {CHARS_MAX:,} characters")
    elif any(unicodedata.category(char) in _NO_CHARACTERS for char in text):
        # A later Unicode may normalise them otherwise: their owner would be locked out.
        violations.add(field_name, "must be of characters that Unicode has assigned")
    elif _is_known(_folded(text)):
        violations.add(field_name, "must be one that not everybody knows")
    elif _folded(text) in map(_folded, taken):
        violations.add(field_name, "must be neither the name nor the address")


def normalized(password: str) -> str:
    """The one form of all that Unicode holds for the same text: NFC (SP 800-63B-4, 3.1.1.2).

    Keyboards and systems differ in which they send. Not NFKC, which NIST allows too: it takes
    apart what users see as different characters, such as ² and 2, and with that what they
    chose. RFC 8265, which is about passwords alone, has NFC for the same reason.
    """
    return unicodedata.normalize("NFC", password)


def _forms(password: str) -> list[str]:
    """What may have been hashed for a password: what is now, and what was before.

    Hashes of old are of whatever was sent: that is composed, as it is sent now, or taken apart.
    """
    return list(
        dict.fromkeys([normalized(password), password, unicodedata.normalize("NFD", password)])
    )


def _folded(text: str) -> str:
    """The same for all that reads alike, in whatever case and width: for comparing alone."""
    return unicodedata.normalize("NFKC", text).casefold()


def _is_known(text: str) -> bool:
    """On the list, or made of something on it, or of a few keys one after the other."""
    words = {text, text.strip("0123456789!?.,-_*# "), "".join(text.split())}
    if _repeated(text) or not words.isdisjoint(_common_passwords()):
        return True
    half = text[: len(text) // 2]
    return (text == half * 2 and half in _common_passwords()) or _is_run(text)


def _is_run(text: str) -> bool:
    return any(text in run or text in run[::-1] for run in _RUNS)


@cache
def _common_passwords() -> frozenset[str]:
    lines = _COMMON.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a password was found to be."""

    is_right: bool
    is_outdated: bool = False
    """Its hash is of another form of it, or made with other parameters, than those of now."""


_WRONG: Final = Verdict(is_right=False)


class PasswordHashing:
    """Argon2id in threads of its own, with a short queue: whoever comes too late is refused.

    A hash takes 19 MiB and tens of milliseconds of a core on purpose. However many are asked
    for, this takes `thread_count` cores at most, and only what other work leaves. One network
    gets half of the places at most: somebody who hashes all the time leaves room for others.
    """

    def __init__(self, *, thread_count: int, queue_max: int, memory_kib: int = _MEMORY_KIB) -> None:
        self._hasher = PasswordHasher(
            time_cost=_TIME_COST,
            memory_cost=memory_kib,
            parallelism=_PARALLELISM,
            hash_len=32,
            salt_len=16,
        )
        self._threads = ThreadPoolExecutor(
            max_workers=thread_count, thread_name_prefix="hashing", initializer=_be_nice
        )
        self._pending_max = thread_count + queue_max
        self._share_max = (self._pending_max + 1) // 2
        self._pending = 0
        self._pending_of: Counter[str] = Counter()
        self._nobodys_hash = self._hasher.hash(os.urandom(16))

    def check_capacity(self) -> None:
        """Raises HashingBusy as hashing would now: for before the work that leads to it."""
        network = network_of(caller_address())
        has_its_share = network != UNKNOWN and self._pending_of[network] >= self._share_max
        if has_its_share or self._pending >= self._pending_max:
            raise HashingBusy(
                "more passwords are being checked than this process takes on",
                retry_after_s=_RETRY_AFTER_S,
            )

    async def hash(self, password: str) -> str:
        """What is stored of a password; raises HashingBusy."""
        return await self._run(lambda: self._hasher.hash(normalized(password).encode()))

    async def verify(self, password: str, password_hash: str | None) -> Verdict:
        """Whether this is the password, in any of its forms; raises HashingBusy.

        Without a hash it is not, which takes as long to find out. Costs a hash for text that
        has one form, as ASCII has, and for other text three at most.
        """
        known_hash = password_hash or self._nobodys_hash
        return await self._run(lambda: self._judge(known_hash, password))

    @property
    def pending_count(self) -> int:
        """Passwords that are being hashed, or wait to be."""
        return self._pending

    def close(self) -> None:
        """End the threads; what waits is given up."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _run(self, work: Callable[[], R]) -> R:
        self.check_capacity()
        network = network_of(caller_address())
        self._pending += 1
        self._pending_of[network] += 1
        running = self._threads.submit(work)
        loop = asyncio.get_running_loop()
        running.add_done_callback(lambda _: _call_in(loop, lambda: self._settled(network)))
        return await asyncio.wrap_future(running)

    def _settled(self, network: str) -> None:
        # Not when the caller is answered: one that went away leaves its work running.
        self._pending -= 1
        self._pending_of[network] -= 1
        if not self._pending_of[network]:
            del self._pending_of[network]

    def _judge(self, password_hash: str, password: str) -> Verdict:
        for form in _forms(password):
            if self._fits(password_hash, form.encode()):
                is_outdated = self._hasher.check_needs_rehash(password_hash)
                return Verdict(True, is_outdated or form != normalized(password))
        return _WRONG

    def _fits(self, password_hash: str, password: bytes) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except VerifyMismatchError:
            return False


def _call_in(loop: asyncio.AbstractEventLoop, settled: Callable[[], None]) -> None:
    # The loop may have been closed while a thread was still at work.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(settled)


def _be_nice() -> None:
    """Let the scheduler prefer every other thread of this process, however nice that is.

    A thread begins as nice as the one that started it. Beyond 19 there is nothing.
    """
    if sys.platform == "linux":
        thread_id = threading.get_native_id()
        with contextlib.suppress(OSError):
            niceness = os.getpriority(os.PRIO_PROCESS, thread_id) + _NICER_BY
            os.setpriority(os.PRIO_PROCESS, thread_id, min(niceness, _NICENESS_MAX))
