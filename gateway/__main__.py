"""Runs the gateway as its environment says: `python -m gateway`."""

import os

from services.plumbing.importing import uncollected

with uncollected():
    from gateway import app
    from gateway.processes import parent
    from gateway.settings import Settings
    from services.plumbing.process import run_process


async def run(settings: Settings) -> None:
    """In this process, or in several that this one looks after."""
    await (parent.run(settings) if settings.processes > 1 else app.run(settings))


if __name__ == "__main__":
    run_process(Settings, os.environ, run)
