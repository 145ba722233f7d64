"""Brings trouble over a girih, one kind after the other, and looks at what it does.

Everything is asked while it lasts. What fails must be told what docs/reference/errors.md says, in
time, and with the advice to try again; every process that can answer must say that it is alive; and
when the trouble is over, all must be well within a minute, with nobody's help.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus

import httpx

from tests.chaos.trouble.asking import Answers
from tests.chaos.trouble.certificates import encrypted_girih
from tests.chaos.trouble.girih import (
    ENCRYPTED,
    PLAIN,
    SEVERAL_GATEWAYS,
    Girih,
    several_gateways,
    troubled_girih,
)
from tests.chaos.trouble.ground import Ground
from tests.chaos.trouble.liveness import Lives, watched_lives
from tests.chaos.trouble.programs import Programs, new_key, running_programs
from tests.chaos.trouble.seeds import TROUBLES, Trouble
from tests.processes import is_http_ready

RECOVERY_S_MAX = 60.0
TROUBLE_S_MAX = 300.0
"""With all that is asked in it, and behind it."""
GATEWAY_AWAY_EVENTS = 20
"""Appended while no gateway answers: tokens that are good still are used."""


_LATE = frozenset({"DATABASE_BUSY", "DEADLINE_EXCEEDED", "EVENTS_UNAVAILABLE"})
"""What a machine that is busy with something else makes of any call, without any trouble. What is
unnoticed is told from it by what services refused."""


@dataclass
class Row:
    """What became of one trouble."""

    name: str
    asked_count: int = 0
    good_count: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    recovered_s: float = 0.0
    broken: Counter[str] = field(default_factory=Counter)

    def add(self, answers: Answers) -> None:
        self.asked_count += len(answers.answers)
        self.good_count += answers.good_count
        self.reasons += answers.reasons
        self.slowest_s = max(self.slowest_s, answers.slowest_s)
        self.broken += answers.broken


_KINDS: Mapping[str, Callable[[Ground], AbstractAsyncContextManager[Girih]]] = {
    PLAIN: troubled_girih,
    SEVERAL_GATEWAYS: several_gateways,
    ENCRYPTED: encrypted_girih,
}


async def prove_troubles(names: Sequence[str], ground: Ground) -> list[Row]:
    """Begin each trouble in turn; all of them where none is named."""
    rows: list[Row] = []
    chosen = [name for name in TROUBLES if not names or name in names]
    for kind, begin in _KINDS.items():
        those = [name for name in chosen if TROUBLES[name].of == kind]
        if those:
            async with begin(ground) as girih:
                rows += [await _row_of(girih, name) for name in those]
    return rows


async def _row_of(girih: Girih, name: str) -> Row:
    """Bring it, if that can be done here, and print its line."""
    if problem := girih.ground.problems.get(TROUBLES[name].needs):
        print(f"{name:20} left out: {problem}", flush=True)
        return Row(name)
    row = await _bounded(girih, name)
    print(line_of(row), flush=True)
    return row


async def _bounded(girih: Girih, name: str) -> Row:
    try:
        async with asyncio.timeout(TROUBLE_S_MAX):
            return await bring(girih, name, TROUBLES[name])
    except TimeoutError:
        return Row(name, broken=Counter({f"it goes on after {TROUBLE_S_MAX:g} s": 1}))


HEADER = f"{'trouble':20} {'asked':>6} {'served':>6} {'slowest':>8} {'well after':>10}  told"


def line_of(row: Row) -> str:
    """For the table below `HEADER`, with what was broken below it."""
    most = ", ".join(f"{name} {count}" for name, count in row.reasons.most_common(4))
    line = (
        f"{row.name:20} {row.asked_count:>6} {row.good_count:>6} {row.slowest_s:>6.1f} s"
        f" {row.recovered_s:>8.1f} s  {most}"
    )
    return "\n".join([line, *(f"    BROKEN {what}: {n}" for what, n in row.broken.items())])


async def bring(girih: Girih, name: str, trouble: Trouble) -> Row:
    """One trouble, and what came of it."""
    row = Row(name)
    await girih.asker.log_in()
    secret = girih.asker.token
    if girih.certificates is None:
        secret = await asyncio.to_thread(new_key, girih.system.url, secret)
    pids, refused = girih.pids, girih.refused_tokens()
    async with watched_lives(girih.system, girih.ca_file) as lives:
        async with running_programs(
            girih.system.url, girih.events_target, secret, girih.ca_file
        ) as running:
            await running.until_more(1, RECOVERY_S_MAX)
            await _suffer(girih, trouble, row, lives, running)
            await _recover(girih, row, lives)
            if not await running.until_more(5, RECOVERY_S_MAX):
                row.broken["the programs go on no more"] += 1
        row.broken += running.broken
        if trouble.is_unnoticed:
            row.broken += _noticed(running.repeated, "programs repeated calls for")
            row.broken += _noticed(girih.refused_tokens() - refused, "a service refused")
    row.broken += lives.broken
    if girih.pids != pids or not girih.are_running:
        row.broken["a process has ended"] += 1
    if trouble.reasons and not trouble.reasons & row.reasons.keys():
        row.broken[f"nobody was told one of {', '.join(sorted(trouble.reasons))}"] += 1
    return row


async def _suffer(
    girih: Girih, trouble: Trouble, row: Row, lives: Lives, programs: Programs
) -> None:
    async with trouble.begin(girih):
        lives.silent |= trouble.silent
        ends_s = time.monotonic() + trouble.holds_s
        if not trouble.has_gateway:
            if not await programs.until_more(GATEWAY_AWAY_EVENTS, RECOVERY_S_MAX):
                row.broken["programs need the gateway to append"] += 1
            await asyncio.sleep(ends_s - time.monotonic())
            return
        while True:
            answers = await girih.asker.ask(girih.asker.calls())
            girih.asker.judge(answers, retries=trouble.retries)
            row.add(answers)
            if trouble.is_unnoticed:
                row.broken += _noticed(answers.reasons, "told")
            if trouble.is_lived_with:
                await _live_with(girih, row, programs)
            if time.monotonic() > ends_s:
                return


def _noticed(reasons: Counter[str], what: str) -> Counter[str]:
    return Counter({f"{what} {name}": n for name, n in reasons.items() if name not in _LATE})


async def _live_with(girih: Girih, row: Row, programs: Programs) -> None:
    """It goes on, and all must be well, for who logs in again and for programs as they are."""
    row.broken += await until_well(girih, renew=True)
    if not await programs.until_more(5, RECOVERY_S_MAX):
        row.broken["the programs do not go on while it lasts"] += 1


async def _recover(girih: Girih, row: Row, lives: Lives) -> None:
    began_s = time.monotonic()
    row.broken += await until_well(girih, renew=True)
    lives.silent.clear()
    row.recovered_s = time.monotonic() - began_s


async def until_well(girih: Girih, *, renew: bool = False) -> Counter[str]:
    """What is not, after as long as that may take. `renew` logs in again, too."""
    ends_s = time.monotonic() + RECOVERY_S_MAX
    while True:
        is_ready = await asyncio.to_thread(is_http_ready, girih.system.url)
        answers = await girih.asker.ask(girih.asker.main_calls())
        bad = [
            f"{one.call.name} {one.status} {one.reason}"
            for one in answers.answers
            if not one.is_good
        ]
        bad += [] if is_ready else ["it is not ready"]
        if not bad:
            return Counter()
        if time.monotonic() > ends_s:
            return Counter({f"not well after {RECOVERY_S_MAX:g} s: {'; '.join(bad)}": 1})
        if renew and any(one.status == HTTPStatus.UNAUTHORIZED for one in answers.answers):
            with suppress(httpx.HTTPError):
                await girih.asker.log_in()
        await asyncio.sleep(0.2)
