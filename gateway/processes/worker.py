"""One of several processes of a gateway: `python -m gateway.processes.worker LISTENER CHANNEL`.

Started by the parent with two descriptors: the socket that all of them listen on, and the
channel to the parent. Serves as a gateway of one process does, and ends with its parent.
"""

import os
import socket
import sys
from typing import Final

from gateway.app import serve_from
from gateway.processes.channel import to_parent
from gateway.processes.shared_counts import ParentCounts
from gateway.settings import Settings
from services.plumbing.metrics import metrics_server, new_registry
from services.plumbing.process import run_process
from services.plumbing.tasks import OwnedTasks

READY: Final = "ready"
"""What a process says once it serves, with the port of its metrics."""


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, or until the parent has gone."""
    listener_descriptor, channel_descriptor = map(int, sys.argv[1:3])
    registry, tasks = new_registry(is_on=settings.metrics), OwnedTasks()
    with (
        socket.socket(fileno=listener_descriptor) as listener,
        # The parent reads it, and tells what all processes tell.
        metrics_server(registry, "127.0.0.1", 0) as metrics_port,
    ):
        async with to_parent(channel_descriptor) as parent:
            tasks.start("parent", parent.run())
            await serve_from(
                listener,
                settings,
                registry,
                tasks,
                on_ready=lambda: parent.ask(READY, metrics_port),
                shared_counts=lambda group: ParentCounts(parent, group),
            )


if __name__ == "__main__":
    run_process(Settings, os.environ, run)
