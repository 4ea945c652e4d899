"""How much a round tries: a short one (seconds) with all tests; with FAULTS=long, as `scripts/test --faults`, all."""

import json
import os

LONG = os.environ.get("FAULTS") == "long"


def tries(short: int, long: int) -> int:
    """How many inputs a test tries in this round."""
    return long if LONG else short


def count(what: str, fates: dict) -> None:
    """Adds a line to the file that is named by FAULTS_COUNTS, for benchmarks/RESULTS.md."""
    if path := os.environ.get("FAULTS_COUNTS"):
        with open(path, "a") as file:
            file.write(json.dumps([what, dict(fates)]) + "\n")
