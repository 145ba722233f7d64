"""The process that runs projections, which kills itself between what it writes and its checkpoint.

    python -m tests.chaos.projecting

PROJECTING_DEATH is the chance of that in each transaction that applies something, and with
PROJECTING_UNPROTECTED what was written is committed before the checkpoint is. All else is the
product, with the projection of the tests beside those that are shipped.

Imports take most of a start. So each life is that of a child, forked from a process that has
imported everything and does nothing else; for each that killed itself it writes a byte to the file
PROJECTING_KILLS, and begins another.
"""

import os
import random
import signal
import sys
import threading
from pathlib import Path

from girih.ids import Position
from services.plumbing.grpc.server import serve
from services.plumbing.metrics import metrics_server
from services.plumbing.process import run_process
from services.projections.app import built
from services.projections.postgres.store import GenerationTransaction
from services.projections.registry import all_projections
from services.projections.settings import Settings
from services.projections.shipped.all import shipped
from services.projections.shipped.indicators.definitions import Definitions
from tests.projections.running import Shop

DEATH = "PROJECTING_DEATH"
UNPROTECTED = "PROJECTING_UNPROTECTED"
KILLS = "PROJECTING_KILLS"


async def main(settings: Settings) -> None:
    """As the product does, with one projection more."""
    projections = all_projections([*shipped(Definitions()), Shop()], ())
    async with built(settings, projections, Definitions()) as server:
        with metrics_server(server.registry, settings.metrics_host, settings.metrics_port):
            await serve(server)


def die_before_checkpoints(chance: float, *, is_unprotected: bool) -> None:
    """Have transactions end so, now and then."""
    own = GenerationTransaction.move

    async def move(
        transaction: GenerationTransaction,
        position: Position,
        incarnation: str,
        applied_count: int,
    ) -> None:
        if is_unprotected:
            await _commit(transaction)
        if applied_count and random.random() < chance:
            os.kill(os.getpid(), signal.SIGKILL)
        await own(transaction, position, incarnation, applied_count)

    setattr(GenerationTransaction, "move", move)  # noqa: B010 - that is the point


async def _commit(transaction: GenerationTransaction) -> None:
    """What was written so far; the checkpoint comes in another transaction."""
    for statement in ("COMMIT", "BEGIN"):
        await transaction.execute(statement)
    await transaction.fetch("SELECT set_config('girih.tenant', $1, true)", transaction.tenant)


def live_again_and_again(kills: Path) -> None:
    """Return in a child, and in another one each time that it was killed."""
    parent_end, child_end = os.pipe()
    while True:
        child = os.fork()
        if not child:
            os.close(child_end)
            threading.Thread(target=_die_behind, args=(parent_end,), daemon=True).start()
            return
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != -signal.SIGKILL:
            sys.exit(code)
        with kills.open("ab") as file:
            file.write(b".")


def _die_behind(parent_end: int) -> None:
    """Die with the parent, which never writes."""
    os.read(parent_end, 1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    live_again_and_again(Path(os.environ[KILLS]))
    random.seed()
    die_before_checkpoints(
        float(os.environ.get(DEATH, "0")), is_unprotected=bool(os.environ.get(UNPROTECTED))
    )
    run_process(Settings, os.environ, main)
