"""Lengths: how long a request had better be, so that another's answer shows by its length. Pure.

Where answers bear no id, one that comes for another request can be told by its length alone. So
no request is as long as the one before it, nor as the last one that was answered: a gateway
that gives out an answer too late, or once too often, then gives one that does not fit. Nor is it
as long as what another client of the same gateway has been seen to ask of that meter lately.
"""

import time
from collections.abc import Sequence

from gateway_bridge.meter.plan import Block

FORGET_S = 600.0


class Lengths:
    """Which lengths one line's next request should not have."""

    def __init__(self) -> None:
        self._asked = self._answered = 0
        self._others_s: dict[tuple[int, int], float] = {}

    def choose(self, unit: int, requests: Sequence[Block]) -> Block | None:
        """Return the request that is least like the others, then the shortest.

        None where another client leaves none that is like no other.
        """
        free = [request for request in requests if not self._anothers(unit, request)]
        chosen = min(free, key=self._likeness, default=None)
        if chosen and len(free) < len(requests) and chosen.count in (self._asked, self._answered):
            return None
        return chosen

    def asked(self, count: int) -> None:
        """Take note that a request for so many registers goes out."""
        self._asked = count

    def answered(self, request: Block) -> None:
        """Take note that a request was answered."""
        self._answered = request.count

    def overheard(self, unit: int, count: int) -> None:
        """Take note of an answer of `count` registers to another client."""
        self._others_s[unit, count] = time.monotonic()

    def _likeness(self, request: Block) -> tuple[bool, bool, int]:
        return request.count == self._asked, request.count == self._answered, request.count

    def _anothers(self, unit: int, request: Block) -> bool:
        heard_s = self._others_s.get((unit, request.count))
        return heard_s is not None and time.monotonic() - heard_s < FORGET_S
