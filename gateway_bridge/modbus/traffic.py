"""Traffic: what goes over a connection, and how fast."""

from dataclasses import dataclass

PACE_KEPT = 0.95
"""With each answer a slower one before it counts for so much less."""


@dataclass(slots=True)
class Traffic:
    """What went over a connection since the start.

    `busy_s` is time spent waiting for answers, `pace_s` what the slowest of the latest ones took.
    """

    requests: int = 0
    busy_s: float = 0.0
    connects: int = 0
    pace_s: float = 0.0

    def answered(self, took_s: float) -> None:
        """Take note of how long an answer took."""
        self.pace_s = max(took_s, self.pace_s * PACE_KEPT)
