"""The seeds of random tests."""

import os
import random


def seed(setting: str) -> int:
    """Return the seed that a setting names; without one the same each time where nobody looks on.

    Hypothesis chooses its examples by the same rule, in tests/conftest.py.
    """
    if named := os.environ.get(setting):
        return int(named)
    return 1 if os.environ.get("CI") == "true" else random.SystemRandom().randrange(10_000)
