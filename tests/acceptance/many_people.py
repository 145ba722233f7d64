"""100 people of one machine are refused nothing: `python -m tests.acceptance.many_people`.

On `girih up` as it is, by `locustfile.py` beside this. Needs locust, which is in no environment of
this repository: `pip install locust` into this one, or name another with `--locust PROGRAM`.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.installations import Installation, running

_FILE = Path(__file__).with_name("locustfile.py")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--locust", default="locust", help="the program to run")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--spawn-rate", type=int, default=10)
    parser.add_argument("--run-time", default="60s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="girih-") as folder:
        # The server may run as another user, who must reach its data.
        Path(folder).chmod(0o755)
        installation = Installation.made(Path(folder) / "data")
        with running(installation):
            done = subprocess.run(
                [
                    *(options.locust, "--headless", "--only-summary", "--locustfile", str(_FILE)),
                    *("--users", str(options.users), "--spawn-rate", str(options.spawn_rate)),
                    *("--run-time", options.run_time, "--host", installation.url),
                ],
                check=False,
            )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
