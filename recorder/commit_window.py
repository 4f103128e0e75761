"""When to commit what has arrived: at once, or together with what arrives in the next seconds.

A commit writes whole pages, at least one for each meter, so that a commit for every reading
wears out an SD card. A reading that a bridge's journal has as well may wait: until it is committed
it is not acknowledged, so that the broker keeps it too.

A broker delivers only a limited number of unacknowledged messages (20 by default in Mosquitto, 10
in RabbitMQ) and then nothing more, which looks like silence. MQTT 3.1.1 does not report the number,
so it is inferred: where a commit ends a silence and more messages arrive at once, the broker had
held them back.
"""

import math

MOST_HELD = 500
"""Unacknowledged messages that are committed whatever the interval."""
SILENCE_S = 2.0
"""Seconds without a message after which the broker may be waiting for acknowledgements."""
AT_ONCE_S = 0.1
"""Seconds after an acknowledgement within which messages that were held back arrive."""
FEWEST_HELD = 8
"""Messages that every broker delivers without an acknowledgement."""


class CommitWindow:
    """Decides when to commit. Does no I/O; `now_s` is a monotonic clock in seconds."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._began_s = self._last_s = math.inf
        self._urgent = False
        self._held = 0
        self.connected()

    def connected(self) -> None:
        """Forget what is known about the broker, for a new connection."""
        self.limit = MOST_HELD
        self._passed = FEWEST_HELD - 1
        self._held_before = 0
        self._held_back_until_s = -math.inf

    def add(self, held: int, *, urgent: bool, now_s: float) -> None:
        """Note that messages have arrived, `held` of them to be acknowledged."""
        if now_s <= self._held_back_until_s:
            self.limit = min(self.limit, self._held_before * 3 // 4)
        self._held_back_until_s = -math.inf
        self._began_s = min(self._began_s, now_s)
        self._last_s = now_s
        self._held += held
        self._urgent = self._urgent or urgent

    def due(self, now_s: float) -> bool:
        """Return whether to commit now."""
        return (
            self._urgent
            or self._held >= self.limit
            or now_s - self._began_s >= self._interval_s
            or self.stalled(now_s)
        )

    def stalled(self, now_s: float) -> bool:
        """Return whether the broker may be waiting for acknowledgements."""
        return self._held > self._passed and self._is_silent(now_s)

    def committed(self, now_s: float) -> None:
        """Note that everything is committed and acknowledged."""
        if self._held >= FEWEST_HELD and self._is_silent(now_s):
            self._held_before, self._held_back_until_s = self._held, now_s + AT_ONCE_S
            self._passed = max(self._passed, self._held)
        self._began_s = self._last_s = math.inf
        self._urgent = False
        self._held = 0

    def _is_silent(self, now_s: float) -> bool:
        return now_s - self._last_s >= SILENCE_S
