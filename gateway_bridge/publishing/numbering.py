"""The sequence numbers of readings: they count up per meter and never go back."""

import time

from contract.replay import HIGHEST_SEQ

JUMP = 1_000_000
"""More than the count, unknown after a crash, of numbers used after the journal's last."""


class Numbering:
    """Assigns each reading of a meter its number.

    Numbers begin with the clock, in milliseconds. Readings are fewer than a thousand a second, so
    that a bridge without memory begins above every number it has used, if the clock is right.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def next(self, meter: str) -> int:
        """Return the number of a meter's next reading."""
        number = self.last(meter) + 1
        self._last[meter] = number
        return number

    def last(self, meter: str) -> int:
        """Return the last number that was or may have been used."""
        return self._last.setdefault(meter, int(time.time() * 1000))

    def resume(self, meter: str, last: int | None, *, clean: bool) -> None:
        """Continue after the journal's last number; after an unclean end, leave room."""
        if last is None:
            return
        clock = int(time.time() * 1000)
        self._last[meter] = last if clean else max(last + JUMP, clock)

    def not_below(self, meter: str, known: int) -> None:
        """Continue above a number that a recorder has; journal and clock may be behind it."""
        if self.last(meter) < known < HIGHEST_SEQ - JUMP:
            self._last[meter] = known
