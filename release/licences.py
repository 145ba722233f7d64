"""Lists the licences of all that the product consists of: `python -m release.licences`.

Ends with 1 when one of them is none that we take (`release/expressions.py` says which those are).
"""

import sys

from release.components import components
from release.expressions import is_allowed
from release.product import needed


def main() -> int:
    parts = components(needed())
    refused = [one for one in parts if not is_allowed(one.licence)]
    width = max(len(one.name) for one in parts)
    for one in parts:
        print(
            f"{one.name:{width}}  {one.version:12}  {one.ecosystem:4}  {one.licence or 'unknown'}"
        )
    for one in refused:
        print(f"not taken: {one.name}: {one.licence or 'no licence is named'}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
