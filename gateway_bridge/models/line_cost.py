"""What a request costs in time on an RS485 line. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

_REQUEST_BYTES = 8
_ANSWER_FRAME_BYTES = 5
_SILENT_CHARACTERS = 3.5


class Request(Protocol):
    """A request for `count` registers, such as a block of a plan."""

    @property
    def count(self) -> int:
        """How many registers it asks for."""


@dataclass(frozen=True, slots=True)
class LineCost:
    """What time a request takes on an RS485 line.

    `bits` are those of a character on the wire (8N1: 10), `turnaround_ms` passes between a
    request and the meter's answer, `pause_ms` is the silence that the gateway keeps afterwards.
    """

    baud: int = 9600
    bits: int = 10
    turnaround_ms: float = 40.0
    pause_ms: float = 20.0

    @property
    def register_ms(self) -> float:
        """What each register adds."""
        return 2 * self._character_ms

    @property
    def overhead_ms(self) -> float:
        """What each request costs before its first register."""
        characters = _REQUEST_BYTES + _ANSWER_FRAME_BYTES + _SILENT_CHARACTERS
        return characters * self._character_ms + self.turnaround_ms + self.pause_ms

    def request_ms(self, count: int) -> float:
        """Return how long the line is taken by a request for `count` registers."""
        return self.overhead_ms + count * self.register_ms

    def total_ms(self, requests: Iterable[Request]) -> float:
        """Return how long these requests occupy the line, one after another."""
        return sum(self.request_ms(request.count) for request in requests)

    @property
    def _character_ms(self) -> float:
        return 1000 * self.bits / self.baud
