"""A clock that leaps: where a program would only wait, its time passes at once.

For tests of lines that take minutes. All that happens must happen in one event loop: bytes sent
over the loopback are there at once, so when none are, everybody is waiting for the clock.
"""

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")


ROUND_S = 1e-6
"""What a round of the event loop seems to take, as no real clock ever stands still."""


class LeapingClock:
    """A monotonic clock that hardly moves but for its leaps."""

    def __init__(self) -> None:
        self.now_s = time.monotonic()

    def monotonic(self) -> float:
        return self.now_s


class LeapingSelector(selectors.DefaultSelector):
    """Looks whether there is anything to do; if not, lets the clock leap to the next moment."""

    def __init__(self, clock: LeapingClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._clock.now_s += ROUND_S
        ready = super().select(0)
        if ready or timeout is None or timeout <= 0:
            return ready or super().select(timeout)
        self._clock.now_s += timeout
        return []


def run_leaping(story: Coroutine[Any, Any, T]) -> T:
    """Run a story to its end, in leaps, and return what it returns."""
    clock = LeapingClock()
    with (
        mock.patch("time.monotonic", clock.monotonic),
        asyncio.Runner(loop_factory=lambda: _loop(clock)) as runner,
    ):
        return runner.run(story)


def _loop(clock: LeapingClock) -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(LeapingSelector(clock))
