"""An internal service: it has the light distribution, an API key, and nothing else."""

import subprocess
from typing import Final

from tests.distributions.building import Environment

SCOPES: Final = (
    *("events.append", "events.read", "groups.consume", "groups.write"),
    *("lattices.read", "lattices.write"),
)

PROGRAM: Final = """
from girih.client import Client, NewEvent

with Client() as girih:
    girih.append([NewEvent.with_data("job-1", "asked", {"n": n}) for n in range(3)])
    followed = []
    with girih.follow("job-1") as events:
        for event in events:
            followed.append(event.data["n"])
            if len(followed) == 3:
                break
    girih.groups.create("workers")
    done = []
    with girih.consume("workers") as messages:
        for message in messages:
            message.ack().result(30)
            if message.event.stream == "job-1":
                done.append(message.event.data["n"])
            if len(done) == 3:
                break
    lattice = girih.lattices.create((4, 4))
    path = girih.lattices.find_path(lattice, (0, 0), (3, 3))
    print(followed, done, path.steps, path.sites.shape)
"""

OUTPUT: Final = "[0, 1, 2] [0, 1, 2] 6 (7, 2)\n"


def worked(light: Environment, server: Environment) -> str:
    """What it says in an environment of its own, in the folder of the `girih up` of another, where
    somebody is logged in."""
    allowed = [word for scope in SCOPES for word in ("--scope", scope)]
    command = [str(server.folder / "bin" / "girih"), "keys", "create", "worker", *allowed]
    key = server.run(command).stdout.strip()
    done = subprocess.run(
        [str(light.python), "-c", PROGRAM],
        cwd=server.home,
        env={**light.environ, "GIRIH_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr
