"""Events: what changes on a line is logged and handed to a listener, once per change."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from gateway_bridge.meter.state import PolledMeter

logger = logging.getLogger(__name__)

SHARED = (
    "sends the responses to another client here, too; switch on its multi-host mode, or let that"
    " client read the meters over MQTT"
)


class Listener(Protocol):
    """Receives what a poller reads and notices; its methods must not block."""

    def reading(self, meter: PolledMeter, ts: datetime, values: dict[str, float]) -> None:
        """Handle a whole reading; `ts` is the time at which its request was sent."""

    def changed(self, meter: PolledMeter) -> None:
        """Handle a change of a meter's state, identity, plan or events."""


class Events:
    """Reports the changes of the meters behind the gateway at `address`."""

    def __init__(self, address: str, listener: Listener) -> None:
        self._address = address
        self._listener = listener

    def online(self, meter: PolledMeter) -> None:
        """Report that a meter is online, which it was not before."""
        again = "" if meter.state.online is None else f" again after {meter.state.since_s():.0f} s"
        logger.info("meter %s: online%s", meter.config.meter_id, again)
        meter.set_online(True)
        self._listener.changed(meter)

    def offline(self, meter: PolledMeter, why: str) -> None:
        """Report that a meter is offline."""
        if meter.state.online is False:
            return
        logger.warning("meter %s: offline: %s", meter.config.meter_id, why)
        self.unreachable(meter)

    def unreachable(self, meter: PolledMeter) -> None:
        """Report to the listener that a meter is offline with its gateway, which is in the log."""
        if meter.state.online is not False:
            meter.set_online(False)
            self._listener.changed(meter)

    def of_meter(self, meter: PolledMeter, events: Sequence[str]) -> None:
        """Report events of a meter, each a sentence."""
        for event in events:
            logger.warning("meter %s: %s", meter.config.meter_id, event)
        meter.state.events.extend(events)
        if events:
            self._listener.changed(meter)

    def shared(self) -> None:
        """Report that the gateway sends another client's responses."""
        logger.warning("gateway %s: %s", self._address, SHARED)

    def overloaded(self, took_s: float) -> None:
        """Report that the line is too slow for its meters."""
        logger.warning(
            "gateway %s: the line cannot keep up: one meter takes %.2f s; the meters are read in"
            " turn, as fast as possible; use a longer POLL_INTERVAL, fewer QUANTITIES or a higher"
            " baud rate",
            self._address,
            took_s,
        )
