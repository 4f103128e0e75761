"""News: what has changed on a line, told to the log and to the sink, once each."""

import logging
from collections.abc import Iterable

from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.polling.sink import Sink

logger = logging.getLogger(__name__)


class News:
    """Tells what is new of the meters behind the gateway at `address`."""

    def __init__(self, address: str, sink: Sink) -> None:
        self._address = address
        self._sink = sink

    def online(self, meter: PolledMeter) -> None:
        """Tell that a meter has given a reading."""
        if meter.online:
            return
        logger.info("meter %s: online%s", meter.meter.meter_id, meter.away_in_words())
        meter.set_online(True)
        self._sink.changed(meter)

    def offline(self, meter: PolledMeter, why: str) -> None:
        """Tell that a meter is given up."""
        if meter.online is False:
            return
        logger.warning("meter %s: offline: %s", meter.meter.meter_id, why)
        meter.set_online(False)
        self._sink.changed(meter)

    def away(self, meter: PolledMeter) -> None:
        """Tell that a meter is offline as its gateway is, of which the log tells already."""
        if meter.online is not False:
            meter.set_online(False)
            self._sink.changed(meter)

    def events(self, meter: PolledMeter, events: Iterable[str]) -> None:
        """Tell what has happened that a person may want to follow."""
        events = list(events)
        for event in events:
            logger.warning("meter %s: %s", meter.meter.meter_id, event)
        meter.events.extend(events)
        if events:
            self._sink.changed(meter)

    def overload(self, took_s: float) -> None:
        """Tell that the line is too slow for its meters."""
        logger.warning(
            "gateway %s: the line cannot keep up: one meter takes %.2f s; they are read in turn as"
            " fast as it goes (longer POLL_INTERVAL, fewer QUANTITIES or more baud would do)",
            self._address,
            took_s,
        )
