# Made of girih/client/aggregates/repository.py by `python -m release.blocking_client`: change that.
"""Loads aggregates and saves what was decided on them, without asyncio. Decides nothing itself."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Generic, TypeVar

from girih.client.aggregates.aggregate import Aggregate
from girih.client.aggregates.commands import PAUSES_S, SNAPSHOT_TIMEOUT_S
from girih.client.aggregates.flow import (
    Append,
    Flow,
    Flows,
    Load,
    Pause,
    Read,
    SaveSnapshot,
    Step,
)
from girih.client.aggregates.fold import CONTENT_TYPE
from girih.client.blocking.event_store import BlockingEventStoreClient
from girih.client.errors import GirihError
from girih.ids import Revision

A = TypeVar("A", bound=Aggregate[Any])
R = TypeVar("R")


class Repository(Generic[A]):
    """The aggregates of one class.

        permits = Repository(girih, PermitAggregate)
        permit = permits.execute("17", lambda permit: permit.grant("Omar"), command_id=id)

    Cheap to make, and may be used by any number of threads; an aggregate by one at a time.
    """

    def __init__(
        self,
        girih: BlockingEventStoreClient,
        kind: type[A],
        *,
        pauses_s: Sequence[float] = PAUSES_S,
        upcast: bool = False,
        on_snapshot_failed: Callable[[GirihError], None] | None = None,
    ) -> None:
        """`kind` is made with an id alone. `pauses_s` stand before each further attempt after a
        lost race; `upcast` reads events as registered upcasters make them. A snapshot that could
        not be saved fails no command: `on_snapshot_failed` is told.
        """
        self._girih = girih
        self._flows = Flows(kind, tuple(pauses_s), on_snapshot_failed)
        self._upcast = upcast

    def load(self, id: str, *, timeout: float | None = None) -> A:  # noqa: A002
        """The aggregate as its stream has it now; `exists` is false where there is none.

        One call, from the newest snapshot that fits. Raises HistoryUnusable.
        """
        return self._run(self._flows.load(id), timeout)

    def refresh(self, aggregate: A, *, timeout: float | None = None) -> Revision:
        """Load it anew, and forget what is pending; answers its revision."""
        self._run(self._flows.refresh(aggregate), timeout)
        return aggregate.revision

    def save(
        self, aggregate: A, *, command_id: str | None = None, timeout: float | None = None
    ) -> Revision:
        """Store what is pending, all or nothing, if nobody was faster; answers the revision.

        Raises RevisionConflict; then load it and decide again, as `execute` does. After
        Unavailable it is not known whether it was stored: save the same aggregate again.
        """
        self._run(self._flows.save(aggregate, command_id), timeout)
        return aggregate.revision

    def execute(
        self,
        id: str,  # noqa: A002 - what its users call it
        decide: Callable[[A], object],
        *,
        command_id: str | None = None,
        timeout: float | None = None,
    ) -> A:
        """Load the aggregate, let `decide` record events on it, and save it; answers it.

        When somebody else was faster it is loaded and decided on again after 50, 100 and 200 ms;
        then RevisionConflict tells both revisions. What `decide` raises ends it, with nothing
        saved. It is called anew each time, so it must change nothing but its aggregate.

        A command that was carried out is not carried out again: repeat it after Unavailable, or
        after a crash, with the same `command_id`, and the aggregate is answered as it is now.
        `timeout` is for each call.
        """
        return self._run(self._flows.execute(id, decide, command_id), timeout)

    def _run(self, flow: Flow[R], timeout: float | None) -> R:
        try:
            step = next(flow)
            while True:
                try:
                    answer = self._perform(step, timeout)
                except GirihError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: R = end.value
            return result
        finally:
            flow.close()

    def _perform(self, step: Step, timeout: float | None) -> object:
        match step:
            case Load(stream, schema_version):
                return self._girih.load(
                    stream, schema_version=schema_version, upcast=self._upcast, timeout=timeout
                )
            case Read():
                self._read(step, timeout)
            case Append(events, expected):
                return self._girih.append(events, [expected], timeout=timeout)
            case SaveSnapshot(stream, revision, state, schema_version, incarnation, read_position):
                return self._girih.save_snapshot(
                    stream,
                    revision,
                    state,
                    schema_version=schema_version,
                    content_type=CONTENT_TYPE,
                    incarnation=incarnation,
                    read_position=read_position,
                    timeout=SNAPSHOT_TIMEOUT_S,
                )
            case Pause(pause_s):
                time.sleep(pause_s)
        return None

    def _read(self, read: Read, timeout: float | None) -> None:
        batches = self._girih.read_batches(
            read.stream,
            filter=read.query or (),
            from_revision=read.from_revision,
            limit=read.limit,
            include_gone=read.include_gone,
            upcast=self._upcast,
            timeout=timeout,
        )
        with closing(batches):
            for batch in batches:
                if not read.take(batch):
                    return
