"""The events process, whose consumers believe in their leases for ever."""

import os
from unittest.mock import patch

from services.events.app import run
from services.events.groups.consumer import Consumer
from services.events.settings import Settings
from services.plumbing.process import run_process

if __name__ == "__main__":
    with patch.object(Consumer, "_is_valid", lambda _consumer, _number: True):
        run_process(Settings, os.environ, run)
