"""Whether an address can be listened on, and who is in the way."""

import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from cli.local import process


def split(address: str) -> tuple[str, int]:
    """`host:port` in its parts; an IPv6 host stands in brackets."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{address!r} is not host:port")
    return host.strip("[]"), int(port)


def is_loopback(address: str) -> bool:
    """Whether nobody but this machine can call who listens there."""
    host, _ = split(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def obstacle(address: str) -> str | None:
    """Why one cannot listen there, in words; None when one can."""
    host, port = split(address)
    if port == 0:
        return None
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: connections that are still closing are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"{address} is taken by {holder(port) or 'another process'}"
        return f"{address} cannot be listened on: {error.strerror or error}"
    return None


def listens(address: str, timeout_s: float) -> bool:
    """Whether somebody takes connections there, as far as that can be told: true of an address
    that is not host:port."""
    try:
        host_and_port = split(address)
    except ValueError:
        return True
    try:
        socket.create_connection(host_and_port, timeout_s).close()
    except OSError:
        return False
    return True


def holder(port: int) -> str | None:
    """Who listens on a TCP port, as `name (process id)`; None when that cannot be learned."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for pid in _pids() if sockets else ():
        if sockets & set(_open_files(pid)):
            return f"{_shortened(process.command_line(pid))} (process {pid})"
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _open_files(pid: int) -> Iterator[str]:
    try:
        handles = list(os.scandir(f"/proc/{pid}/fd"))
    except OSError:
        return
    for handle in handles:
        try:
            yield str(Path(handle.path).readlink())
        except OSError:
            continue


def _shortened(command: str) -> str:
    return " ".join(command.split()[:4]) or "another process"
