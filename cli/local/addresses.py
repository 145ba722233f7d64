"""Where the processes of `girih up` listen: as somebody chose, and remembered from then on.

Standard library alone: `make up` runs this before it installs anything.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from cli.local import ports, state

DEFAULTS: Mapping[str, str] = {
    "GATEWAY_ADDRESS": "127.0.0.1:8000",
    "EVENTS_ADDRESS": "127.0.0.1:50051",
    "LATTICE_ADDRESS": "127.0.0.1:50052",
    "PROJECTIONS_ADDRESS": "127.0.0.1:50053",
    "GATEWAY_METRICS_PORT": "9100",
    "EVENTS_METRICS_PORT": "9101",
    "LATTICE_METRICS_PORT": "9102",
    "PROJECTIONS_METRICS_PORT": "9103",
}

_FILE = "addresses.json"
_PORT_MAX = 65_535


def chosen(data_dir: Path, given: Mapping[str, str | None]) -> dict[str, str]:
    """What is `given`, or else what was when it was up last, or else the default."""
    stated = {name: given[name] for name in DEFAULTS if given.get(name)}
    return {**DEFAULTS, **remembered(data_dir), **{name: str(stated[name]) for name in stated}}


def remembered(data_dir: Path) -> dict[str, str]:
    """What was chosen before, in the place of defaults."""
    try:
        document = json.loads((data_dir / _FILE).read_text())
        kept = {name: str(document[name]) for name in DEFAULTS if name in document}
        for name, address in kept.items():
            ports.split(_listening(name, address))
    except (OSError, ValueError, TypeError):
        return {}
    return kept


def remember(data_dir: Path, addresses: Mapping[str, str]) -> None:
    """Keep what differs from the defaults for the next `girih up` on the data directory."""
    others = {name: addresses[name] for name in DEFAULTS if addresses[name] != DEFAULTS[name]}
    new = data_dir / f"{_FILE}.new"
    new.write_text(json.dumps(others, indent=2))
    new.replace(data_dir / _FILE)


def obstacles(addresses: Mapping[str, str], hint: Callable[[Mapping[str, str]], str]) -> str:
    """What keeps the processes from listening, a line each, and the `hint` with addresses that
    are free; empty when nothing does."""
    problems, others = [], {}
    listening = {name: _listening(name, addresses[name]) for name in DEFAULTS}
    chosen_for: dict[str, str] = {}
    taken = set(listening.values())
    for name, address in listening.items():
        problem = ports.obstacle(address)
        if problem is None and address in chosen_for:
            problem = f"{address} is chosen for both {chosen_for[address]} and {name}"
        if problem is not None:
            problems.append(problem)
            others[name] = _free(name, address, taken)
        elif not address.endswith(":0"):
            chosen_for[address] = name
    return "\n".join([*problems, f"choose another: {hint(others)}"]) if problems else ""


def as_options(addresses: Mapping[str, str]) -> str:
    """As a person would type it."""
    words = (f"--{name.lower().replace('_', '-')} {address}" for name, address in addresses.items())
    return f"girih up {' '.join(words)}"


def as_variables(addresses: Mapping[str, str]) -> str:
    """As a person would type it who uses make."""
    return f"{' '.join(f'{name}={address}' for name, address in addresses.items())} make up"


def _listening(name: str, address: str) -> str:
    return f"127.0.0.1:{address}" if name.endswith("_PORT") else address


def _free(name: str, address: str, taken: set[str]) -> str:
    """The next address of the same host that is free and not `taken`, as the setting has it; it
    is taken from then on."""
    host, _, port = address.rpartition(":")
    others = (f"{host}:{number}" for number in range(int(port) + 1, _PORT_MAX + 1))
    is_free = (other for other in others if other not in taken and ports.obstacle(other) is None)
    free = next(is_free, f"{host}:0")
    taken.add(free)
    return free.rpartition(":")[2] if name.endswith("_PORT") else free


def main() -> int:
    """Look, for `make up`, whether what `girih up` will listen on is free: 1 when it is not."""
    data_dir = Path(os.environ.get("GIRIH_DATA") or ".girih")
    running = state.read(data_dir)
    if running is not None and running.is_running():
        print(f"girih is up already on {data_dir} (process {running.supervisor.pid})")
        print("To stop it: .venv/bin/girih down")
        return 1
    try:
        problems = obstacles(chosen(data_dir, os.environ), as_variables)
    except ValueError as error:
        problems = str(error)
    if problems:
        print(problems, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
