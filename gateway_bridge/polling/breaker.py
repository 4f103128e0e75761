"""Circuit breaker: when a meter counts as dead, and when to try it again. Pure."""

import random
from dataclasses import dataclass

TIMEOUTS_TO_OPEN = 2
DELAYS_S = (5.0, 10.0, 20.0, 40.0, 60.0)
JITTER = 0.1


@dataclass(slots=True)
class Breaker:
    """Opens after two time-outs in a row; then one probe at growing delays until one succeeds."""

    opened: bool = False
    timeouts: int = 0
    _probes: int = 0

    def timed_out(self) -> bool:
        """Count a time-out; True where it opens the breaker."""
        self.timeouts += 1
        if self.opened or self.timeouts < TIMEOUTS_TO_OPEN:
            return False
        self.open()
        return True

    def open(self) -> None:
        """Give the meter up, whatever it has answered."""
        self.opened = True

    def answered(self) -> bool:
        """Take note of an answer; True where it closes the breaker."""
        closes, self.opened, self.timeouts = self.opened, False, 0
        return closes

    def well(self) -> None:
        """Take note of a whole reading: from now on a probe comes soon again."""
        self._probes = 0

    def probe_delay_s(self) -> float:
        """Return how long to wait before the next probe; each call makes the next one longer."""
        delay_s = DELAYS_S[min(self._probes, len(DELAYS_S) - 1)]
        self._probes += 1
        return delay_s * random.uniform(1 - JITTER, 1 + JITTER)
