"""Sink: who hears what a gateway's poller has to say."""

from datetime import datetime
from typing import Protocol

from gateway_bridge.meter.state import PolledMeter


class Sink(Protocol):
    """Who wants to know; nothing here may block."""

    def reading(self, meter: PolledMeter, ts: datetime, values: dict[str, float]) -> None:
        """Take a whole reading; `ts` is when its request went out."""

    def changed(self, meter: PolledMeter) -> None:
        """Note that a meter's state, identity, plan or events are not what they were."""
