"""Refresh tokens in the hands of many callers, of unlucky ones and of thieves.

Two replicas of accounts serve on one event store. In each round somebody logs in, and then

- many callers use the same token at once, on both replicas: they get one successor;
- an answer is lost, or the caller cuts the call off, and the token is used again within ten
  seconds on the other replica: it gives the same successor, and the session goes on;
- a thief uses a token again later: the session ends, for the victim too, and the tenant's
  log tells of it.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from unittest.mock import patch

from gateway.accounts.account_log import AccountLog, Change
from gateway.accounts.errors import RefreshTokenInvalid
from gateway.accounts.ports import now_ms
from gateway.accounts.secrets.credentials import RefreshToken, RefreshTokens
from gateway.accounts.state.events import AccountRecord
from girih.accounts.v1 import accounts_pb2 as pb
from services.plumbing.auth.tokens import TokenInvalid
from services.plumbing.errors import Conflict, ResourceExhausted, ServiceError, Unavailable
from services.plumbing.grpc.channel import open_channel
from tests.authority import Authority
from tests.gateway.accounts.replicas import Clock, Replica, open_replica, security_events
from tests.processes import ending, events_process, own_postgres

OVERLAP_S = 10.0


@dataclass
class Outcome:
    """What happened, and what should not have."""

    figures: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)


@dataclass
class Run:
    """What the rounds share."""

    replicas: list[Replica]
    clock: Clock
    owner: pb.LoginResponse
    dice: random.Random
    callers: int
    answer: Outcome = field(default_factory=Outcome)

    def any_replica(self) -> Replica:
        return self.dice.choice(self.replicas)


async def use_refresh_tokens(
    *, rounds: int, callers: int, seed: int, is_protected: bool
) -> Outcome:
    """Run the rounds. Without protection nothing is expected and nothing derived."""
    with own_postgres() as (postgres, folder), _protection(is_protected=is_protected):
        authority = Authority.create(folder / "keys")
        process, address = events_process(postgres.url, folder, **authority.environ)
        with ending(process):
            process.start()
            await asyncio.to_thread(process.wait_ready)
            clock = StandingClock()
            async with AsyncExitStack() as stack:
                made = [open_replica(address, authority, clock) for _ in range(2)]
                replicas = [await stack.enter_async_context(one) for one in made]
                owner = await replicas[0].owner()
                run = Run(replicas, clock, owner, random.Random(seed), callers)
                for _ in range(rounds):
                    await _round(run)
            await _count_outcome(run, address, authority)
            return run.answer


@dataclass
class StandingClock(Clock):
    """Goes on when it is put forward and not otherwise: what happens at once may take a busy
    machine longer than the time in which a token is good for one that lost its answer.
    """

    began_ms: int = field(default_factory=now_ms)

    def __call__(self) -> int:
        return self.began_ms + self.ahead_ms


async def _round(run: Run) -> None:
    session = await run.any_replica().login(run.owner.user.email)
    token = await _all_at_once(run, session.refresh_token)
    stolen, token = token, token and await _answer_lost(run, token)
    if token:
        await _stolen(run, stolen, token, session.access_token)


async def _all_at_once(run: Run, token: str) -> str:
    answers = await asyncio.gather(
        *(run.any_replica().refresh(token) for _ in range(run.callers)), return_exceptions=True
    )
    successors = {one.refresh_token for one in answers if isinstance(one, pb.Tokens)}
    run.answer.figures["refreshes at once"] += len(answers)
    for one in answers:
        if isinstance(one, ServiceError):
            run.answer.figures[f"answered with {one.reason}"] += 1
    # Told to retry is not told that the session is over: the same token is good a moment later.
    if any(isinstance(one, BaseException) and not _may_retry(one) for one in answers):
        run.answer.broken["honest callers refused"] += 1
    elif not successors:
        run.answer.figures["races that nobody ran to the end"] += 1
        return await _all_at_once(run, token)
    run.answer.figures["races with one successor"] += len(successors) == 1
    if len(successors) != 1:
        run.answer.broken["successors of one token"] += 1
    return min(successors, default="")


def _may_retry(error: BaseException) -> bool:
    return isinstance(error, Unavailable | ResourceExhausted | Conflict)


async def _answer_lost(run: Run, token: str) -> str:
    """Use the token, do not hear the answer, and use it again. Empty when the session ended."""
    try:
        received = await _cut_off(run, token)
        run.clock.pass_s(run.dice.uniform(0, OVERLAP_S - 1))
        again = (await run.any_replica().refresh(token)).refresh_token
    except RefreshTokenInvalid:
        run.answer.broken["sessions ended for an answer that was lost"] += 1
        return ""
    if received and received != again:
        run.answer.broken["another successor after an answer was lost"] += 1
    run.answer.figures["answers lost"] += 1
    run.answer.figures["of these after they were given"] += bool(received)
    return again


async def _cut_off(run: Run, token: str) -> str:
    """What was answered, if the caller did not hang up before."""
    call = asyncio.ensure_future(run.any_replica().refresh(token))
    timeout_s = run.dice.choice([0.002, 0.005, 0.01, 5.0, 5.0])
    with contextlib.suppress(TimeoutError):
        return (await asyncio.wait_for(call, timeout_s)).refresh_token
    return ""


async def _stolen(run: Run, stolen: str, token: str, access_token: str) -> None:
    run.clock.pass_s(OVERLAP_S + run.dice.uniform(0.1, 60))
    at = run.any_replica()
    for name, used in (("thief", stolen), ("victim", token)):
        try:
            await run.any_replica().refresh(used)
        except RefreshTokenInvalid:
            run.answer.figures[f"refused to the {name}"] += 1
        else:
            run.answer.broken[f"given to the {name}"] += 1
    for _ in range(100):
        try:
            await at.call("WhoAmI", pb.WhoAmIRequest(), access_token)
        except TokenInvalid:
            run.answer.figures["access tokens refused"] += 1
            return
        await asyncio.sleep(0.02)
    run.answer.broken["access tokens that outlive their session"] += 1


async def _count_outcome(run: Run, address: str, authority: Authority) -> None:
    """Once the replicas have said all: every theft is told, each once, though some as a number."""
    async with open_channel(address) as channel:
        answer = await security_events(channel, authority, run.owner.tenant.tenant_id)
    reused = [fields.get("count", 1) for kind, fields in answer if kind == "refresh-reused"]
    run.answer.figures["security events of reuse"] = sum(reused)
    if sum(reused) != run.answer.figures["refused to the thief"]:
        run.answer.broken["thefts that nobody was told of"] += 1


class _Underived(RefreshTokens):
    """Makes a new successor each time."""

    def successor(self, token: RefreshToken, generation: int) -> RefreshToken:
        del generation
        return self.first(token.session_id)


@contextlib.contextmanager
def _protection(*, is_protected: bool) -> Iterator[None]:
    if is_protected:
        yield
        return
    append = AccountLog.append

    async def unconditionally(
        self: AccountLog, changes: Sequence[Change], expected: Mapping[str, int]
    ) -> list[AccountRecord]:
        del expected
        return await append(self, changes, {})

    with (
        patch("gateway.accounts.app.RefreshTokens", _Underived),
        patch.object(AccountLog, "append", unconditionally),
    ):
        yield
