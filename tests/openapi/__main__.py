"""Writes the OpenAPI document of the contract, for linters and generators.

python -m tests.openapi build/openapi.json
"""

import sys
from pathlib import Path

import orjson

from gateway.app import read_contract
from gateway.contract.rules import rules_of
from gateway.openapi.document import document


def main(path: Path) -> None:
    contract = read_contract()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(document(contract, list(rules_of(contract)))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
