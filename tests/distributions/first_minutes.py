"""The README's first five minutes, word by word, with an installed girih."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.distributions.building import Environment
from tests.processes import ROOT, free_port

NOT_HERE = {". .venv/bin/activate", "girih events tail"}
"""The first is for a checkout; the last goes on for ever."""


def commands(title: str) -> list[str]:
    """Those of a section of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, section = text.partition(f"## {title}\n")
    blocks = re.findall(r"```console\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


def followed(environment: Environment) -> str:
    """What they say, each behind its own words. The first that fails ends them."""
    words = [command for command in commands("The first five minutes") if command not in NOT_HERE]
    # Traced to where they write, so that a failure is found behind its command.
    script = "\n".join(("exec 2>&1", "set -eux", *words))
    done = environment.run(["bash", "-c", script], {"GIRIH_PASSWORD": "test123"}, timeout_s=120)
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextmanager
def running(environment: Environment, **environ: str) -> Iterator[str]:
    """`girih up` of the environment, in its home, once it is ready; where it serves."""
    names = ("EVENTS", "LATTICE", "PROJECTIONS", "GATEWAY")
    ports = {f"{name}_ADDRESS": f"127.0.0.1:{free_port()}" for name in names}
    ports |= {f"{name}_METRICS_PORT": str(free_port()) for name in names}
    child = subprocess.Popen(
        ["girih", "up"],
        executable=environment.folder / "bin" / "girih",
        cwd=environment.home,
        env={**environment.environ, **ports, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert child.stdout is not None
    try:
        lines = []
        for line in child.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        assert child.poll() is None, "".join(lines)
        yield f"http://{ports['GATEWAY_ADDRESS']}"
    finally:
        child.terminate()
        child.communicate(timeout=60)
