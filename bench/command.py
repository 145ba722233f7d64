"""What commands take until they have answered: beside an interpreter that does nothing.

    python -m bench.command [--rounds 15]

Time of the CPU, in turns, the best of each, since what else runs only ever adds. The gateway is a
thread here that has its answers ready: what is measured is the command's own start and end, with
Python's bytecode kept, as an installed command has it.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RATIO_MAX = 20.0
"""0.35 s where an interpreter starts in 17.5 ms."""

_ROOT = Path(__file__).resolve().parent.parent
_IDLE = [sys.executable, "-c", "pass"]
_COMMANDS = (
    ("--help",),
    ("version",),
    ("whoami",),
    ("lattices", "list"),
    ("events", "list"),
    ("events", "list", "-o", "json"),
)
_EVENT = (
    b'{"position":"%d","revision":"0","recordedAt":"2026-11-29T05:50:01.639592Z","event":'
    b'{"id":"01a225da-6d7e-7000-a82e-d5e31be4bd0c","stream":"permit-1","type":"submitted",'
    b'"json":{"by":"Ada"}}}\n'
)
_ANSWERS = {
    "/auth/whoami": b'{"user":{"userId":"u","email":"ada@example.org","name":"Ada"}}',
    "/v1/lattices": b'{"lattices":[{"latticeId":"3f2a9c1e-52f4-4a0e-9f38-0b7d6c1d2e3f"}]}',
    "/v1/events": b"".join(_EVENT % position for position in range(1, 101)),
}


class _Gateway(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = _ANSWERS[self.path.partition("?")[0]]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Gateway) as gateway:
        threading.Thread(target=gateway.serve_forever, daemon=True).start()
        with tempfile.TemporaryDirectory() as folder:
            worst = _compare(gateway.server_port, folder, arguments.rounds)
        gateway.shutdown()
    print(f"worst {worst:.1f}, demanded <= {RATIO_MAX:g}")
    return 0 if worst <= RATIO_MAX else 1


def _compare(port: int, folder: str, rounds: int) -> float:
    """Print each command beside the interpreter, and answer the largest ratio."""
    environ = {
        **os.environ,
        "GIRIH_URL": f"http://127.0.0.1:{port}",
        "GIRIH_API_KEY": "a-key",
        "GIRIH_CREDENTIALS": f"{folder}/credentials.json",
        "PYTHONPATH": str(_ROOT),
        "PYTHONPYCACHEPREFIX": f"{folder}/bytecode",
    }
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    lines = {"an interpreter": _IDLE} | {
        f"girih {' '.join(words)}": [sys.executable, "-m", "cli", *words] for words in _COMMANDS
    }
    best_s = dict.fromkeys(lines, float("inf"))
    for _ in range(rounds):
        for name, line in lines.items():
            best_s[name] = min(best_s[name], _seconds(line, environ, folder))
    idle_s = best_s["an interpreter"]
    for name, seconds in best_s.items():
        print(f"{name:<28} {seconds * 1e3:>7.0f} ms  {seconds / idle_s:>5.1f} interpreters")
    return max(best_s.values()) / idle_s


def _seconds(line: list[str], environ: dict[str, str], folder: str) -> float:
    """Of CPU: what a command takes where nothing else runs, since it waits for next to nothing."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(line, env=environ, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
