"""Runs the gateway as its environment says: `python -m gateway`."""

import os

from gateway.app import run
from gateway.settings import Settings
from services.plumbing.process import run_process

if __name__ == "__main__":
    run_process(Settings, os.environ, run)
