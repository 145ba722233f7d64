"""The lattice process, which writes into a job's stream whatever revision that is at."""

import os
from typing import Any
from unittest.mock import patch

from services.lattice.__main__ import main
from services.lattice.compiler import configure_compiler
from services.lattice.settings import Settings
from services.plumbing.process import run_process

if __name__ == "__main__":
    # Before the journal is imported, which imports the compiler.
    configure_compiler(None, os.environ)
    from girih.client import Precondition
    from services.lattice.jobs import journal

    class _Anywhere:
        """Preconditions that always hold, but for those of other streams than a job's."""

        def __init__(self, real: Any) -> None:
            self._real = real

        def at(self, stream: str, revision: int) -> Any:
            if stream.startswith("$job-") and revision >= 0:
                return self._real.exists(stream)
            return self._real.at(stream, revision)

    with patch.object(journal, "Precondition", _Anywhere(Precondition)):
        run_process(Settings, os.environ, main)
