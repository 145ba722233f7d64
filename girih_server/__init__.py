"""The one name that the distribution of the server takes, and the commands that it installs.

Its packages are called `cli`, `gateway` and `services` in the sources, which is too common for an
environment that others share: the wheel has them inside this one. So they are found by whoever
comes through here, and by the processes that those start, and by nobody else.
"""

import os
import runpy
import sys


def girih() -> None:
    """The `girih` command."""
    find_packages()
    from cli.main import main

    main()


def events() -> None:
    """The event store as a process: `python -m services.events`."""
    _run("services.events")


def lattice() -> None:
    """The lattice service as a process: `python -m services.lattice`."""
    _run("services.lattice")


def kernels() -> None:
    """Compiles the kernels of lattice: `python -m services.lattice.compiled_ahead`."""
    _run("services.lattice.compiled_ahead")


def projections() -> None:
    """What runs projections as a process: `python -m services.projections`."""
    _run("services.projections")


def gateway() -> None:
    """The gateway as a process: `python -m gateway`."""
    _run("gateway")


def _run(package: str) -> None:
    find_packages()
    runpy.run_module(package, run_name="__main__", alter_sys=True)


def find_packages() -> None:
    """Look for packages here first; in a checkout they are beside this one, and found anyway."""
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - every command waits for it
    if not os.path.isdir(os.path.join(folder, "cli")):  # noqa: PTH112, PTH118
        return
    sys.path.insert(0, folder)
    paths = filter(None, (folder, os.environ.get("PYTHONPATH")))
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
