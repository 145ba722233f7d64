"""`python -m services.projections`: the projections of all tenants as a process."""

import os

from services.plumbing.importing import uncollected

with uncollected():
    from services.plumbing.process import run_process
    from services.projections.app import run
    from services.projections.settings import Settings

if __name__ == "__main__":
    run_process(Settings, os.environ, run)
