"""Two PostgreSQL servers under Patroni, one the synchronous standby of the other, on one machine.

Patroni decides by Raft, with a third process that only votes: nothing but the package is needed. It
is not among our requirements: `pip install "patroni[raft,psycopg3]" "psycopg[binary]"`.
"""

import json
import os
import shutil
import signal
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cli.local import process
from cli.local.postgres import find_binaries
from cli.local.process import Child, Identity
from tests.processes import free_port

PASSWORD = "of-the-proof"
TTL_S = 20
"""After so long without a word from the leader another takes over: the least Patroni takes."""
_LOOP_S = 1
_RETRY_S = 5
_START_S = 300.0
_VOTER = 2


class NotInstalled(Exception):
    """Patroni is not there; the message says how to have it."""


@dataclass
class Node:
    """A server and the Patroni that looks after it."""

    folder: Path
    port: int
    api_port: int
    raft_port: int
    child: Child | None = field(default=None, repr=False)

    def kill(self) -> None:
        """As if its machine were gone: Patroni and the server at once."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        assert self.child is not None
        self.child.kill()
        os.kill(pid, signal.SIGKILL)
        self.child.wait()


class Cluster:
    """The servers, and who votes."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._programs = programs
        self._folder = folder
        self.nodes = [
            Node(folder / f"node{number}", free_port(), free_port(), free_port())
            for number in range(3)
        ]

    @property
    def servers(self) -> Sequence[Node]:
        return self.nodes[:_VOTER]

    @property
    def url(self) -> str:
        """All servers: whoever connects takes the one that is the primary."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.servers)
        return f"postgresql://girih:{PASSWORD}@{hosts}/postgres"

    def start(self, number: int) -> None:
        node = self.nodes[number]
        node.folder.mkdir(exist_ok=True)
        (node.folder / "patroni.yml").write_text(yaml.safe_dump(self._settings(number)))
        identity = _identity(node.folder)
        program = "patroni_raft_controller" if number == _VOTER else "patroni"
        environ = {name: value for name, value in os.environ.items() if name[:2] != "PG"}
        with (node.folder / "patroni.log").open("ab") as log:
            node.child = process.spawn(
                [str(self._programs / program), str(node.folder / "patroni.yml")],
                directory=node.folder,
                output=log,
                environ=environ,
                identity=identity,
            )

    def until_synchronous(self) -> Node:
        """The primary, once another server has all that is acknowledged."""
        deadline_s = time.monotonic() + _START_S
        while time.monotonic() < deadline_s:
            members = self._members()
            roles = {member["name"]: member["role"] for member in members.values()}
            if {"leader", "sync_standby"} <= set(roles.values()):
                leader = next(name for name, role in roles.items() if role == "leader")
                return next(node for node in self.servers if node.folder.name == leader)
            time.sleep(0.2)
        raise TimeoutError(f"no synchronous standby within {_START_S:g} s: {self._folder}")

    def stop(self) -> None:
        for node in self.nodes:
            if node.child is not None and node.child.poll() is None:
                process.end(node.child, (signal.SIGTERM, signal.SIGKILL), timeout_s=30)
            with suppress(OSError, ValueError, IndexError):
                pid_file = node.folder / "data" / "postmaster.pid"
                os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGQUIT)

    def _members(self) -> dict[str, dict[str, Any]]:
        for node in self.servers:
            with suppress(OSError, ValueError):
                url = f"http://127.0.0.1:{node.api_port}/cluster"
                with urllib.request.urlopen(url, timeout=2) as response:
                    members = json.loads(response.read())["members"]
                return {member["name"]: member for member in members}
        return {}

    def _settings(self, number: int) -> dict[str, Any]:
        node = self.nodes[number]
        others = [other for other in self.nodes if other is not node]
        raft = {
            "self_addr": f"127.0.0.1:{node.raft_port}",
            "partner_addrs": [f"127.0.0.1:{other.raft_port}" for other in others],
            "data_dir": str(node.folder / "raft"),
        }
        if number == _VOTER:
            return {"raft": raft}
        api = f"127.0.0.1:{node.api_port}"
        return {
            "scope": "girih",
            "name": node.folder.name,
            "restapi": {"listen": api, "connect_address": api},
            "raft": raft,
            "bootstrap": {
                "dcs": {
                    "ttl": TTL_S,
                    "loop_wait": _LOOP_S,
                    "retry_timeout": _RETRY_S,
                    "maximum_lag_on_failover": 0,
                    # Strict: without a standby nothing is acknowledged that only one server has.
                    # Not so here, or nobody could write after a failover until the other is back.
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True},
                },
                "initdb": ["data-checksums", {"encoding": "UTF8"}, {"locale": "C"}],
            },
            "postgresql": self._server_settings(node),
        }

    def _server_settings(self, node: Node) -> dict[str, Any]:
        address = f"127.0.0.1:{node.port}"
        return {
            "listen": address,
            "connect_address": address,
            "data_dir": str(node.folder / "data"),
            "bin_dir": str(find_binaries(os.environ).directory),
            "pgpass": str(node.folder / "pgpass"),
            "authentication": {
                "superuser": {"username": "girih", "password": PASSWORD},
                "replication": {"username": "replicator", "password": PASSWORD},
                "rewind": {"username": "rewinder", "password": PASSWORD},
            },
            "pg_hba": [
                "host all all 127.0.0.1/32 scram-sha-256",
                "host replication replicator 127.0.0.1/32 scram-sha-256",
            ],
            "parameters": {"unix_socket_directories": "", "max_connections": 100},
        }


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster whose standby is synchronous. Raises NotInstalled."""
    executable = shutil.which("patroni", path=os.environ.get("PATRONI_BINDIR"))
    executable = executable or shutil.which("patroni")
    if executable is None:
        message = 'pip install "patroni[raft,psycopg3]" "psycopg[binary]", or set PATRONI_BINDIR'
        raise NotInstalled(message)
    cluster = Cluster(folder, Path(executable).parent)
    try:
        for number in (_VOTER, 0, 1):
            cluster.start(number)
        cluster.until_synchronous()
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def folder_for_servers() -> Iterator[Path]:
    """A folder that servers, who may be other users, can reach."""
    with tempfile.TemporaryDirectory(prefix="girih-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def _identity(folder: Path) -> Identity:
    """PostgreSQL refuses to be root: in a user namespace it is not, and the files stay ours."""
    if os.geteuid() != 0:
        return Identity.own()
    folder.chmod(0o755)
    return Identity(way="namespace", uid=65_534, gid=65_534)
