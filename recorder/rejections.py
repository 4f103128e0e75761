"""Which of the unusable messages are kept for a person to look at, and which only counted."""

import logging
from collections import Counter

logger = logging.getLogger(__name__)

WINDOW_S = 60.0
KEPT_PER_TOPIC = 10
MOST_TOPICS = 1000
MOST_LINES = 20


class Refusals:
    """Limits what a flood of nonsense may cost: ten rows a minute and topic, one line of log.

    The first of each reason in a minute is always kept.
    """

    def __init__(self) -> None:
        self._began_s = float("-inf")
        self._seen: Counter[str] = Counter()
        self._reasons: set[str] = set()
        self.count = 0

    def keep(self, topic: str, reason: str, detail: str, now_s: float) -> bool:
        """Count an unusable message and tell whether to keep it."""
        self.count += 1
        if now_s - self._began_s >= WINDOW_S:
            self._began_s = now_s
            self._seen.clear()
            self._reasons.clear()
        is_first = reason not in self._reasons
        self._reasons.add(reason)
        if topic not in self._seen and len(self._seen) >= MOST_TOPICS and not is_first:
            return False
        self._seen[topic] += 1
        if is_first or (self._seen[topic] == 1 and len(self._seen) <= MOST_LINES):
            logger.warning("%.100s: message refused (%s): %.200s", topic, reason, detail)
        return is_first or self._seen[topic] <= KEPT_PER_TOPIC
