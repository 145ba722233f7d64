"""Finds what stands in the way of preconditions that no event may match.

Recent events are in memory. What lies before them is looked for in the database, by the call
itself and before its append is queued: so nobody else's waits for it. That nothing was found holds
for ever, since what is stored does not change, and what is gone does not come back. What was found
may be gone before somebody is refused for it, and is then looked for once more. When the append is
decided only what came since must be looked at, and of that nothing is in the database that is not
also in memory, but for what was let go meanwhile, or was appended by other processes: that is read
when it is decided.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from girih.ids import NO_POSITION, RULES_STREAM, Position
from services.events.domain import (
    LogState,
    LookedBack,
    NoMatch,
    Precondition,
    Proposal,
    SharedUpto,
    StreamState,
)
from services.events.matching.recent import RecentEvents
from services.events.store import LogReader
from services.plumbing.errors import DatabaseUnavailable, ResourceExhausted, Unavailable

LOOK_BACK_S = 2.0
"""How long a call looks back before its append is queued."""
DECIDE_S = 0.3
"""How long others of the log wait for what has to be looked at once more."""
LOOKS_AT_ONCE_MAX = 4
"""Of one log, so that others have connections."""
CATCH_UP_MAX = 512
"""Events that other processes appended which are read into memory; those before more are left."""


class Boundaries:
    """What the preconditions of one log take to be decided, beside its streams."""

    def __init__(self, log: LogReader, recent: RecentEvents) -> None:
        self._log = log
        self._recent = recent
        self._turns = asyncio.Semaphore(LOOKS_AT_ONCE_MAX)

    async def look_back(self, proposal: Proposal) -> Proposal:
        """`proposal` with what is found in the database of all that is not recent.

        Nothing is asked of the database where everything that matters is recent.
        """
        wanted = proposal.no_matches()
        if not wanted:
            return proposal
        self._recent.use()
        if all(self._is_recent(one.looked_at("")) for one in wanted):
            return proposal
        try:
            async with self._turns:
                return await self._looked(self._log, proposal, "", time.monotonic() + LOOK_BACK_S)
        except (Unavailable, ResourceExhausted):
            return proposal  # whoever decides it asks again, for as long as that may help

    async def ready(
        self, log: LogReader, proposals: Sequence[Proposal], state: LogState
    ) -> Sequence[Proposal]:
        """`proposals` so that they can be decided on `state`, which is that of `log`.

        Raises what reading raises.
        """
        proposals = await _with_shared(log, proposals, state.incarnation)
        asks = [bool(proposal.preconditions and proposal.no_matches()) for proposal in proposals]
        if any(asks):
            self._recent.use()
        if not self._recent.are_kept:
            return proposals
        if self._recent.head != state.head:
            await self._catch_up(log, state)
        if not any(asks):
            return proposals
        until_s = time.monotonic() + DECIDE_S
        return [
            await self._looked(log, proposal, state.incarnation, until_s) if is_asking else proposal
            for proposal, is_asking in zip(proposals, asks, strict=True)
        ]

    async def let_lapse(
        self, log: LogReader, proposals: Sequence[Proposal], state: LogState
    ) -> Sequence[Proposal]:
        """Forget what is recent if some of it is in the way that is gone by now: by its age, or
        since newer events of its stream are kept instead. No rule says so when that happens.

        Asked before somebody is refused. Answers `proposals` without what was found in their way
        before: that may be gone, too. Raises what reading raises.
        """
        await self._forget_what_is_gone(log, proposals, state)
        return [
            replace(
                proposal,
                preconditions=[
                    one.without_match() if isinstance(one, NoMatch) else one
                    for one in proposal.preconditions
                ],
            )
            if proposal.no_matches()
            else proposal
            for proposal in proposals
        ]

    async def _forget_what_is_gone(
        self, log: LogReader, proposals: Sequence[Proposal], state: LogState
    ) -> None:
        if not self._recent.are_kept or self._recent.head != state.head:
            return
        wanted = [one for proposal in proposals for one in proposal.no_matches()]
        matches = [
            self._recent.first(one.filter, one.looked_at(state.incarnation)) for one in wanted
        ]
        positions = sorted({match.position for match in matches if match is not None})
        if positions and await log.hides(positions):
            self._recent.clear()

    async def _catch_up(self, log: LogReader, state: LogState) -> None:
        """Know the newest events, when this process did not append them."""
        head = self._recent.head
        start = Position(max(NO_POSITION, state.head - CATCH_UP_MAX))
        is_continued = head is not None and start <= head <= state.head
        if is_continued and head is not None:
            start = head
        events = await log.recent(start, state.head)
        if len(events) != state.head - start:
            raise DatabaseUnavailable("the log became another one meanwhile")
        if not is_continued:
            self._recent.begin(start)
        if any(event.labels.stream == RULES_STREAM for event in events):
            # Some of those known before may be gone by that.
            self._recent.begin(start)
        self._recent.catch_up(events)

    async def _looked(
        self, log: LogReader, proposal: Proposal, incarnation: str, until_s: float
    ) -> Proposal:
        if all(self._is_recent(one.looked_at(incarnation)) for one in proposal.no_matches()):
            return proposal
        return replace(
            proposal,
            preconditions=[
                await self._looked_back(log, one, incarnation, until_s)
                if isinstance(one, NoMatch)
                else one
                for one in proposal.preconditions
            ],
        )

    async def _looked_back(
        self, log: LogReader, wanted: NoMatch, incarnation: str, until_s: float
    ) -> NoMatch:
        """Look on until what is left is recent, something is found, or the time is up."""
        while wanted.match(incarnation) is None:
            looked_at = wanted.looked_at(incarnation)
            if self._is_recent(looked_at) or time.monotonic() > until_s:
                break
            look = await log.look(wanted.filter, looked_at)
            if incarnation not in ("", look.incarnation):
                raise DatabaseUnavailable("the log became another one meanwhile")
            looked_back = LookedBack(look.upto, look.match, look.incarnation)
            wanted = replace(wanted, looked_back=looked_back)
            incarnation = look.incarnation
            if look.is_end:
                break
        return wanted

    def _is_recent(self, looked_at: Position) -> bool:
        since = self._recent.since
        return since is not None and looked_at >= since


async def _with_shared(
    log: LogReader, proposals: Sequence[Proposal], incarnation: str
) -> Sequence[Proposal]:
    """`proposals` with what the log holds of the incarnations that they were decided in.

    Each of these is asked for once, however many preconditions name it: all others of the log
    wait meanwhile.
    """
    others = {
        one.read_in
        for proposal in proposals
        for one in proposal.preconditions
        if one.is_of_another(incarnation)
    }
    if not others:
        return proposals
    shared = {
        other: SharedUpto(await log.shared_position(other) or NO_POSITION, incarnation)
        for other in others
    }
    return [
        replace(
            proposal,
            preconditions=[
                await _shared(log, one, shared[one.read_in]) if one.read_in in shared else one
                for one in proposal.preconditions
            ],
        )
        for proposal in proposals
    ]


async def _shared(
    log: LogReader, wanted: Precondition | NoMatch, shared: SharedUpto
) -> Precondition | NoMatch:
    if isinstance(wanted, NoMatch):
        return replace(wanted, shared=shared)
    assert not isinstance(wanted.expected, StreamState)
    # Of a log with which nothing is shared no event can be the one that was read.
    is_any = shared.position > NO_POSITION
    position = await log.position_of(wanted.stream, wanted.expected) if is_any else None
    return replace(wanted, position=position, shared=shared)
