"""Whether a file is CycloneDX 1.6: `python release/validating.py FILE`.

It runs in the environment of the tools of a release, and knows nothing of girih."""

import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def main(path: Path) -> int:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    problem = validator.validate_str(path.read_text(encoding="utf-8"))
    if problem is not None:
        print(f"{path} is no CycloneDX: {problem}", file=sys.stderr)
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
