"""Does what the documentation says, command by command, in one girih.

python -m tests.docs [PAGE...]

All pages unless some are named. Takes a minute or two; ends with 1 at the first command that fails
or prints something else than its page says.
"""

import sys
import tempfile
from pathlib import Path

from tests.docs.following import all_pages, read


def main(asked: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="girih-docs-") as folder:
        try:
            for page, count in read(asked or all_pages(), Path(folder)):
                print(f"{page}: {count} commands", flush=True)
        except AssertionError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
