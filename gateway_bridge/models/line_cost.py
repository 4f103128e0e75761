"""The time that requests take on an RS485 line. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

_REQUEST_BYTES = 8
_ANSWER_FRAME_BYTES = 5
_SILENT_CHARACTERS = 3.5


class Request(Protocol):
    """A request for registers, such as a block of a plan."""

    @property
    def count(self) -> int:
        """The number of registers."""


@dataclass(frozen=True, slots=True)
class LineCost:
    """The properties of a line that decide how long a request takes.

    `bits` is the length of a character on the wire (8N1: 10). `turnaround_ms` passes between a
    request and the meter's answer, `pause_ms` between an answer and the gateway's next request.
    """

    baud: int = 9600
    bits: int = 10
    turnaround_ms: float = 40.0
    pause_ms: float = 20.0

    @property
    def register_ms(self) -> float:
        """The time that each register adds."""
        return 2 * self._character_ms

    @property
    def overhead_ms(self) -> float:
        """The time that a request takes without its registers."""
        characters = _REQUEST_BYTES + _ANSWER_FRAME_BYTES + _SILENT_CHARACTERS
        return characters * self._character_ms + self.turnaround_ms + self.pause_ms

    def request_ms(self, count: int) -> float:
        """Return how long a request for `count` registers occupies the line."""
        return self.overhead_ms + count * self.register_ms

    def total_ms(self, requests: Iterable[Request]) -> float:
        """Return how long requests occupy the line, one after another."""
        return sum(self.request_ms(request.count) for request in requests)

    @property
    def _character_ms(self) -> float:
        return 1000 * self.bits / self.baud
