"""Passwords: which ones are taken, and how they are hashed without stopping anything else."""

import asyncio
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from gateway.accounts.errors import HashingBusy
from gateway.http.caller import UNKNOWN, caller_address, network_of
from services.plumbing.beside.process import ProcessBeside, ProcessDied
from services.plumbing.beside.work import NICENESS_MAX
from services.plumbing.errors import Violations
from services.plumbing.pace import Pace

CHARS_MIN_PRODUCTION: Final = 15
CHARS_MIN_DEVELOPMENT: Final = 6
CHARS_MAX: Final = 1_024
"""Lengths are in Unicode code points."""

MEMORY_KIB: Final = 19 * 1_024
"""What a hash takes: the least that OWASP advises for two passes over it."""

_HASHER: Final = "gateway.accounts.secrets.hasher"
_NORMALIZED: Final = 0
"""Which of its forms a password is hashed in."""

WAIT_S_MAX: Final = 10.0
"""How long whoever is let in may be expected to wait: well below what a call may take."""

REPLACED_AFTER_S: Final = 2.0
"""How long a password waits for a core that nothing else wants."""
_NICENESS: Final = 10
"""Of the process that hashes those which have waited so long: a tenth of what others have."""

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


class PasswordHashing:
    """Argon2id in a process beside this one, with a short queue: whoever comes too late is refused.

    A hash takes 19 MiB and tens of milliseconds of a core on purpose, unless another `memory_kib`
    is given. However many are asked for, that takes `thread_count` cores at most, and only what
    other work leaves. One network gets half of the places at most: somebody who hashes all the
    time leaves room for others.

    Where other work wants all cores all the time that would be never, and nobody could log in to
    see why. So what has waited for `replaced_after_s` is given to a second process as well, which
    has a small share of a core whoever wants it, and is not started before.

    Not in threads of this process, however low their priority: one that has just lost its core
    may hold the interpreter, and then every call waits for a turn of the lowest.
    """

    def __init__(
        self,
        *,
        thread_count: int,
        queue_max: int,
        memory_kib: int = MEMORY_KIB,
        wait_s_max: float = WAIT_S_MAX,
        replaced_after_s: float = REPLACED_AFTER_S,
    ) -> None:
        self._idle = ProcessBeside(_HASHER, (memory_kib, thread_count, NICENESS_MAX))
        self._sharing = ProcessBeside(_HASHER, (memory_kib, 1, _NICENESS))
        self._replaced_after_s = replaced_after_s
        self._pending_max = thread_count + queue_max
        self._share_max = (self._pending_max + 1) // 2
        self._pending: set[asyncio.Task[Any]] = set()
        self._pending_of: Counter[str] = Counter()
        self._wait_s_max = wait_s_max
        self._pace = Pace()

    def check_capacity(self) -> None:
        """Raises HashingBusy as hashing would now: for before the work that leads to it."""
        network = network_of(caller_address())
        has_its_share = network != UNKNOWN and self._pending_of[network] >= self._share_max
        if has_its_share or self.pending_count >= self._pending_max:
            raise _busy("more passwords are being checked than this process takes on")
        expected_s = self._pace.expected_s(self.pending_count)
        if expected_s > self._wait_s_max:
            raise _busy(
                "passwords are checked slower than they come", expected_s - self._wait_s_max
            )

    async def hash(self, password: str) -> str:
        """What is stored of a password; raises HashingBusy."""
        result: str = await self._ask("hash", normalized(password).encode())
        return result

    async def verify(self, password: str, password_hash: str | None) -> Verdict:
        """Whether this is the password, in any of its forms; raises HashingBusy.

        Without a hash it is not, which takes as long to find out. Costs a hash for text that
        has one form, as ASCII has, and for other text three at most.
        """
        forms = [form.encode() for form in _forms(password)]
        answer = await self._ask("verify", password_hash or "", forms)
        if answer is None:
            return Verdict(is_right=False)
        number, is_outdated = answer
        return Verdict(is_right=True, is_outdated=is_outdated or number != _NORMALIZED)

    @property
    def pending_count(self) -> int:
        """Passwords that are being hashed, or wait to be."""
        return len(self._pending)

    async def close(self) -> None:
        """End the processes; what waits is given up."""
        await self._idle.close()
        await self._sharing.close()

    async def _ask(self, *request: object) -> Any:  # noqa: ANN401 - what the hasher answers
        self.check_capacity()
        network = network_of(caller_address())
        # A task, since one that goes away leaves its work going on, and its place taken.
        asking = asyncio.ensure_future(self._hashed(*request))
        self._pending.add(asking)
        self._pending_of[network] += 1
        began_s = self._pace.begin_s()
        asking.add_done_callback(lambda _: self._settled(asking, network, began_s))
        try:
            return await asyncio.shield(asking)
        except ProcessDied:
            raise _busy(
                "the process that checks passwords has ended; there will be another"
            ) from None

    async def _hashed(self, *request: object) -> Any:  # noqa: ANN401 - what the hasher answers
        """What is answered first by a process that lives. Raises ProcessDied when none does."""
        first = asyncio.ensure_future(self._idle.ask(*request))
        await asyncio.wait([first], timeout=self._replaced_after_s)
        if first.done():
            return first.result()
        second = asyncio.ensure_future(self._sharing.ask(*request))
        try:
            await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
            answered, other = (first, second) if first.done() else (second, first)
            has_died = isinstance(answered.exception(), ProcessDied)
            return await other if has_died else answered.result()
        finally:
            first.cancel()
            second.cancel()

    def _settled(self, asking: "asyncio.Task[Any]", network: str, began_s: float) -> None:
        self._pending.discard(asking)
        self._pending_of[network] -= 1
        if not self._pending_of[network]:
            del self._pending_of[network]
        if not asking.cancelled():
            # Who asked may have gone: then nobody looks at it, which would be logged.
            error = asking.exception()
            if error is None:
                self._pace.done(began_s)


def _busy(message: str, retry_after_s: float = 0.0) -> HashingBusy:
    return HashingBusy(message, retry_after_s=max(_RETRY_AFTER_S, retry_after_s))
