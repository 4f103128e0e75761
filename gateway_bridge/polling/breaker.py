"""Breaker: when a meter is marked offline, and when it is tried again. Pure.

A meter that does not respond costs its neighbours a timeout with each request. So after two
timeouts in a row it is not read any more: its breaker opens, and a short probe at growing
intervals finds out when the meter is back. The same holds for a meter whose answers are damaged, or
whose requests make the gateway close the connection. A meter that answers with exceptions costs
nothing and is still read; but it is offline, as it has no readings.
"""

import random
from dataclasses import dataclass
from enum import Enum, auto

TIMEOUTS_TO_OPEN = 2
FAULTS_TO_OFFLINE = 3
OFFLINE_AFTER_S = 2.0
"""Seconds that a gateway may be unreachable before its meters are marked offline."""
RETRY_S = 1.0
"""Seconds after which a meter is read again after its first timeout, at any interval."""
DELAYS_S = (0.2, 0.5, 1.0, 2.0, 3.7)
"""Seconds before the first probe, the second one, and so on. On a busy line, the budget of the
schedule delays them."""
JITTER = 0.1


class Step(Enum):
    """What follows from a failed reading."""

    WAIT = auto()
    """Read the meter at its next turn."""
    RETRY = auto()
    """Read it again at once."""
    RETRY_SOON = auto()
    """Read it again after `RETRY_S`."""
    OFFLINE = auto()
    """Report it offline, but keep reading it."""
    OPEN = auto()
    """Report it offline, and only probe it from now on."""


@dataclass(slots=True)
class Breaker:
    """Counts what fails in a row on one meter.

    `is_well` is true while there is nothing to recover from.
    """

    is_well: bool = True
    opened: bool = False
    timeouts: int = 0
    failures: int = 0
    """Readings in a row that failed."""
    probes: int = 0
    """Probes in a row that failed."""

    def failed(self) -> None:
        """Count a reading that failed, before its reason is reported."""
        self.failures += 1
        self.is_well = False

    def timed_out(self) -> Step:
        """Count a timeout."""
        self.timeouts += 1
        self.is_well = False
        if self.opened:
            return Step.WAIT
        never_whole = self.failures >= FAULTS_TO_OFFLINE  # it answers one block, and not the next
        return self.open() if never_whole or self.timeouts >= TIMEOUTS_TO_OPEN else Step.RETRY_SOON

    def faulted(self, *, exception: bool) -> Step:
        """Handle an invalid answer, or an `exception`."""
        if self.failures < FAULTS_TO_OFFLINE:
            return Step.WAIT
        return Step.OFFLINE if exception else self.open()

    def cut_off(self, *, others_are_well: bool) -> Step:
        """Handle a lost connection: the requests to this meter may be what ends it each time."""
        if self.failures == 1:
            return Step.RETRY
        return self.open() if self.failures >= FAULTS_TO_OFFLINE and others_are_well else Step.WAIT

    def open(self) -> Step:
        """Open, even though the meter may answer."""
        self.opened, self.is_well = True, False
        return Step.OPEN

    def half_open(self) -> None:
        """Read the meter once more: its gateway was away, and one timeout opens again."""
        self.opened, self.timeouts = False, TIMEOUTS_TO_OPEN - 1

    def answered(self) -> None:
        """Close again: the meter has answered a request."""
        self.opened, self.timeouts = False, 0

    def read(self) -> None:
        """Start over: a whole reading has succeeded, so the next probe is soon again."""
        self.failures = self.probes = 0
        self.is_well = not self.opened and not self.timeouts

    def probe_delay_s(self) -> float:
        """Return the seconds to wait before the next probe; more with each call."""
        delay_s = DELAYS_S[min(self.probes, len(DELAYS_S) - 1)]
        self.probes += 1
        return delay_s * random.uniform(1 - JITTER, 1 + JITTER)
