"""What a meter measures: its role, its parent, its name for people, and the counters of its bill.

A meter's info publishes them, and `meters/<id>/set` changes them.
"""

from collections.abc import Mapping
from enum import StrEnum


class Role(StrEnum):
    """What is behind a meter."""

    GRID = "grid"
    PRODUCTION = "production"
    STORAGE = "storage"
    CONSUMER = "consumer"


class Billing(StrEnum):
    """Which counters are the bill: the meter's own, or import and export netted across phases."""

    PER_PHASE = "per_phase"
    NETTED = "netted"


def cycle(parents: Mapping[str, str | None], meter_id: str) -> list[str] | None:
    """Return the meters from one up its parents and back to it; None where that never ends so."""
    path = [meter_id]
    while (parent := parents.get(path[-1])) and parent not in path:
        path.append(parent)
    return [*path, meter_id] if parent == meter_id else None
