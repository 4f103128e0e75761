"""The numbers of readings: they count up per meter and never go back."""

import time

from contract.replay import HIGHEST_SEQ

JUMP = 1_000_000
"""After a crash nobody knows how many numbers beyond the journal were given; fewer than these."""


class Numbering:
    """Gives each reading of a meter its number.

    They begin with the clock, in milliseconds: readings come slower than a thousand a second, so
    that a bridge without memory begins above all that it ever gave, if the clock is right.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def next(self, meter: str) -> int:
        """Return the number of a meter's next reading."""
        number = self.last(meter) + 1
        self._last[meter] = number
        return number

    def last(self, meter: str) -> int:
        """Return the last number that was given, or could have been."""
        return self._last.setdefault(meter, int(time.time() * 1000))

    def go_on(self, meter: str, last: int | None, *, clean: bool) -> None:
        """Go on after the journal's last number: the next one after a clean end, else a jump."""
        if last is None:
            return
        clock = int(time.time() * 1000)
        self._last[meter] = last if clean else max(last + JUMP, clock)

    def not_below(self, meter: str, known: int) -> None:
        """Go on above a number that a recorder knows, though journal and clock have forgotten."""
        if self.last(meter) < known < HIGHEST_SEQ - JUMP:
            self._last[meter] = known
