"""Indicators of tests."""

from pathlib import Path

from services.projections.shipped.indicators.definitions import Definitions, read_definitions

FILE = Path(__file__).with_name("indicators.toml")
INDICATORS: Definitions = read_definitions(FILE)
