"""`python -m services.events`: the event store as a process."""

import os

from services.plumbing.importing import uncollected

with uncollected():
    from services.events.app import run
    from services.events.settings import Settings
    from services.plumbing.process import run_process

if __name__ == "__main__":
    run_process(Settings, os.environ, run)
