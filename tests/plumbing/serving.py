"""Serves the knots as a process of its own; the tests start and stop it."""

import asyncio
import os

from services.plumbing.grpc.server import Server, serve
from services.plumbing.process import run_process
from services.plumbing.settings import (
    ServerSettings,
    SettingsConfig,
)
from services.policy import POLICY
from tests.plumbing.knots import DOMAIN, SERVICE, Knots


class Settings(ServerSettings):
    model_config = SettingsConfig(env_prefix="KNOTS_")

    dies: bool = False
    """Whether a task that must go on dies."""
    breaks: bool = False
    """Whether the process has a bug."""


async def main(settings: Settings) -> None:
    if settings.breaks:
        raise ZeroDivisionError("a bug")
    server = Server(DOMAIN, settings, policy=POLICY)
    server.add_service(SERVICE, Knots())
    if settings.dies:
        server.tasks.start("sequencer", asyncio.sleep(0))
    await serve(server)


if __name__ == "__main__":
    run_process(Settings, os.environ, main)
