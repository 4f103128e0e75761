"""The sequence numbers of readings: they count up per meter and never go back."""

import time

from contract.readings import HIGHEST_SEQ

JUMP = 1_000_000
"""More than the count, unknown after a crash, of numbers used after the journal's last."""
HIGHEST_BELIEVED = HIGHEST_SEQ // 2
"""Highest number of ours that a recorder may know: a made-up one must not use up all numbers."""


class Numbering(dict[str, int]):
    """The last number of each meter that was or may have been used; the next reading adds 1.

    Numbers begin with the clock, in milliseconds. Readings are fewer than a thousand a second, so
    that a bridge without memory begins above every number it has used, if the clock is right.
    """

    def __missing__(self, meter: str) -> int:
        self[meter] = int(time.time() * 1000)
        return self[meter]

    def resume(self, meter: str, last: int | None, crashes: int) -> None:
        """Continue after the journal's last number; leave room for those of each crash since then.

        A bridge that crashes again before it writes must not use its numbers a second time.
        """
        if last is None:
            return
        clock = int(time.time() * 1000)
        self[meter] = max(last + JUMP * crashes, clock) if crashes else last

    def not_below(self, meter: str, known: int) -> None:
        """Continue above a number that a recorder has; journal and clock may be behind it."""
        if self[meter] < known <= HIGHEST_BELIEVED:
            self[meter] = known
