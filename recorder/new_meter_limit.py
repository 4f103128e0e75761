"""Meters never seen before: welcome, but not thousands of made-up ones in an hour."""

import logging
from collections.abc import Iterable

logger = logging.getLogger(__name__)

HOUR_S = 3600.0


class Newcomers:
    """Knows all meters, and lets in a limited number of new ones an hour."""

    def __init__(self, known: Iterable[str], per_hour: int) -> None:
        self._known = set(known)
        self._per_hour = per_hour
        self._hour_began_s = float("-inf")
        self._this_hour = 0

    def admit(self, meter_id: str, now_s: float) -> bool:
        """Tell whether a meter's readings are to be kept."""
        if meter_id in self._known:
            return True
        if now_s - self._hour_began_s >= HOUR_S:
            self._hour_began_s, self._this_hour = now_s, 0
        if self._this_hour >= self._per_hour:
            return False
        self._this_hour += 1
        self._known.add(meter_id)
        logger.info("meter %s: first reading", meter_id)
        return True
