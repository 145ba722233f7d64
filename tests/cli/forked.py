"""The `girih` command in processes that find its modules imported.

An import takes most of a short command, and most tests run dozens. What is forked here has its
own arguments, environment, working directory, standard streams and end all the same.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.processes import ROOT

IMPORTED = [
    "tests.cli.ready",
    "cli.client.credentials",
    "cli.client.rest",
    "cli.client.session",
    "cli.importing.command",
    "h11",
    "httpcore",
    "rich.progress",
    "rich.table",
    "tests.cli.forked",
    "yaml",
]
"""What most commands need. The command imports what is missing here, as it does by itself."""

_CONTEXT = multiprocessing.get_context("forkserver")


def run(words: Sequence[str], environ: Mapping[str, str], stdin: str) -> tuple[int, str, str]:
    """Run the command to its end, at most a minute; answers its code, output and errors."""
    _CONTEXT.set_forkserver_preload(IMPORTED)
    with TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(stdin)
        process = _CONTEXT.Process(target=_main, args=(list(words), dict(environ), streams))
        process.start()
        process.join(60)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"girih {' '.join(words)} goes on after a minute")
        return process.exitcode, streams[1].read_text(), streams[2].read_text()


def _main(words: list[str], environ: dict[str, str], streams: list[Path]) -> None:
    modes = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)
    for number, (stream, mode) in enumerate(zip(streams, modes, strict=True)):
        opened = os.open(stream, mode, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding="utf-8") for number, mode in enumerate("rww")
    )
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(ROOT)
    sys.argv = ["girih", *words]
    from cli import main

    assert Path(main.__file__).is_relative_to(ROOT), "the command of another checkout"
    main.main()
