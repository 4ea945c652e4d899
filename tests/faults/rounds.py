"""How much a round tries: a short one (seconds) with all tests, a long one by `scripts/test --faults`."""

import os

LONG = os.environ.get("FAULTS") == "long"


def tries(short: int, long: int) -> int:
    """How many inputs a test tries in this round."""
    return long if LONG else short
