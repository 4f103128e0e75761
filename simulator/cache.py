"""The memory of a gateway in "storage" mode: repeats are answered without asking the meter."""

import asyncio
import time
from dataclasses import dataclass

from simulator.bus import Bus
from simulator.frames import Request

_PAUSE_S = 0.005
"""Between refreshes, so that a line without wire time leaves others their turn."""


@dataclass(slots=True)
class Remembered:
    """A command the gateway knows: its last answer, and when a client last asked for it."""

    answer: bytes
    asked_at: float


class Cache:
    """Known commands are asked again in turn, and forgotten when no client asks for them."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: dict[tuple[int, bytes], Remembered] = {}

    def active(self) -> bool:
        """Tell whether there is something to refresh; forgets what nobody asked for lately."""
        kept_s = self._bus.faults.number("cache")
        if kept_s is None:
            self._known.clear()
        else:
            oldest = time.monotonic() - kept_s
            self._known = {k: v for k, v in self._known.items() if v.asked_at >= oldest}
        return bool(self._known)

    def answer(self, request: Request) -> bytes | None:
        """Return the remembered PDU for a request, None when the meter must be asked."""
        remembered = self._known.get(_key(request)) if self.active() else None
        if remembered is None:
            return None
        remembered.asked_at = time.monotonic()
        return remembered.answer

    def store(self, request: Request, pdu: bytes) -> None:
        """Remember an answer that a client asked for."""
        if self._bus.faults.number("cache") is not None:
            self._known[_key(request)] = Remembered(pdu, time.monotonic())

    async def refresh(self) -> None:
        """Ask the meter for the command whose turn it is."""
        key = next(iter(self._known))
        remembered = self._known[key] = self._known.pop(key)
        unit, pdu = key
        answer = await self._bus.exchange(Request(unit, pdu))
        if answer is not None and not answer.collided:
            remembered.answer = answer.pdu
        await asyncio.sleep(_PAUSE_S)


def _key(request: Request) -> tuple[int, bytes]:
    return request.unit, request.pdu
