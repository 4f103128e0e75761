"""The time things take on an RS485 line: bytes at the baud rate, turnaround, silence, pause."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LineTiming:
    """How fast a line and its gateway are; baud 0 takes no time at all, for tests.

    `turnaround_s` is what a meter needs before it answers, `pause_s` what the gateway waits
    after an answer before it sends the next request, `reply_timeout_s` how long it waits for one.
    """

    baud: int = 9600
    bits_per_byte: int = 10
    turnaround_s: float = 0.040
    pause_s: float = 0.020
    reply_timeout_s: float = 0.600

    def bytes_s(self, count: float) -> float:
        """Return how long `count` bytes are on the wire."""
        return count * self.bits_per_byte / self.baud if self.baud else 0.0

    def answered_s(self, request: int, answer: int) -> float:
        """Return the time from the first byte of a request to when its answer is handed on."""
        if not self.baud:
            return 0.0
        return self.bytes_s(request + answer + 3.5) + self.turnaround_s

    def free_s(self) -> float:
        """Return how long the line rests after an exchange."""
        return self.pause_s if self.baud else 0.0

    def read_s(self, registers: int) -> float:
        """Return what a read of this many registers costs the line, from request to request."""
        return self.answered_s(8, 5 + 2 * registers) + self.free_s()
