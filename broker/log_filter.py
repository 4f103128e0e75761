"""Complaints about clients in the log: each once a minute at most, and never a flood."""

import logging
import time

logger = logging.getLogger(__name__)

REPEAT_S = 60.0
MOST_A_MINUTE = 60


class Complaints:
    """Says what a client does wrong. One that goes on doing so does not fill the disk."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()
        self._untold = 0
        self._renew_s = 0.0

    def say(self, who: str, what: str) -> None:
        """Log one sentence, unless it stood there in this minute already."""
        if time.monotonic() >= self._renew_s:
            self._renew()
        if (who, what) in self._told or len(self._told) >= MOST_A_MINUTE:
            self._untold += 1
            return
        self._told.add((who, what))
        logger.warning("%s: %s", who, what)

    def _renew(self) -> None:
        if self._untold:
            logger.warning("%d more complaints about clients like those above", self._untold)
        self._untold = 0
        self._told.clear()
        self._renew_s = time.monotonic() + REPEAT_S
