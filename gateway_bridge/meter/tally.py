"""Tally: what has happened on a meter."""

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """What has happened on a meter since the start."""

    readings: int = 0
    timeouts: int = 0
    faults: int = 0
    held: int = 0
