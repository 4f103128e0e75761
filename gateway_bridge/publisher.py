"""Publisher: what the bridge says on the bus, and says again when the broker has been away.

Lives in the event loop; the MQTT client has its own thread and takes messages without blocking.
"""

import asyncio
import json
import logging
import random
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from paho.mqtt.client import MQTTMessage

from contract import __version__, topics
from contract.mqtt import MqttClient, Subscription
from contract.readings import Reading, format_time
from gateway_bridge import discovery
from gateway_bridge.gateway import GatewayPoller
from gateway_bridge.meter import PolledMeter
from gateway_bridge.settings import BridgeSettings

logger = logging.getLogger(__name__)

CONTRACT = 1
INFO_EACH_S = 60.0
BIRTH_DELAY_S = 5.0
"""Home Assistant has just started: not all bridges should answer in the same instant."""
FLUSH_S = 0.5


class Publisher:
    """Speaks for the meters of one bridge; `pollers` are told to it before `start`."""

    def __init__(self, settings: BridgeSettings) -> None:
        self.pollers: Sequence[GatewayPoller] = ()
        self._name = settings.bridge_name
        self._started = datetime.now(UTC)
        self._loop = asyncio.get_running_loop()
        self._sequence = _Sequence()
        self._last: dict[str, Reading] = {}
        self._client = MqttClient(
            settings,
            f"meters-bridge-{self._name}",
            status_topic=topics.bridge(self._name, "status"),
            subscriptions=(Subscription(topics.HOME_ASSISTANT_STATUS, 1),),
            on_connect=lambda: self._in_loop(self._say_everything),
            on_message=self._birth_message,
        )

    def start(self) -> None:
        """Begin to connect to the broker, in the background."""
        self._client.start()

    def stop(self) -> None:
        """Say goodbye for each meter and the bridge."""
        for meter in self._meters():
            self._say(topics.status(meter.meter.meter_id), topics.OFFLINE)
        self._client.stop(FLUSH_S)

    async def tell_info(self) -> None:
        """Publish the bridge's info each minute, until cancelled."""
        while True:
            await asyncio.sleep(INFO_EACH_S)
            self._say_info()

    def reading(self, meter: PolledMeter, ts: datetime, values: dict[str, float]) -> None:
        """Publish a reading, first whole and then value by value."""
        meter_id = meter.meter.meter_id
        reading = Reading(meter_id, ts, values, seq=self._sequence.next(meter_id))
        self._last[meter_id] = reading
        self._publish_reading(reading)

    def changed(self, meter: PolledMeter) -> None:
        """Publish a meter's status, info and discovery anew."""
        self._say_meter(meter)
        self._say_info()

    def _publish_reading(self, reading: Reading) -> None:
        meter_id = reading.meter_id
        self._client.publish(topics.reading(meter_id), reading.encode(), qos=1, retain=True)
        if not self._client.connected:
            return
        for name, value in reading.values.items():
            topic = topics.scalar(meter_id, name)
            self._client.publish(topic, as_text(value), qos=0, retain=True)

    def _say_everything(self) -> None:
        """Say all that a broker without memory must hear."""
        self._say_info()
        self._announce_bridge()
        for meter in self._meters():
            self._say_meter(meter)
            last = self._last.get(meter.meter.meter_id)
            if last and meter.online:
                self._publish_reading(last)

    def _say_meter(self, meter: PolledMeter) -> None:
        meter_id = meter.meter.meter_id
        status = topics.ONLINE if meter.online else topics.OFFLINE
        self._say(topics.status(meter_id), status)
        self._say(topics.info(meter_id), _encode(self._meter_info(meter)))
        self._say(*discovery.meter_message(_announced(meter), self._name))

    def _announce_bridge(self) -> None:
        self._say(*discovery.bridge_message(self._name))

    def _announce(self) -> None:
        self._announce_bridge()
        for meter in self._meters():
            self._say(*discovery.meter_message(_announced(meter), self._name))

    def _say_info(self) -> None:
        self._say(topics.bridge(self._name, "info"), _encode(self._bridge_info()))

    def _say(self, topic: str, payload: str) -> None:
        """Publish what is retained; while the broker is away it is not queued but said later."""
        if self._client.connected:
            self._client.publish(topic, payload, qos=1, retain=True)

    def _birth_message(self, message: MQTTMessage) -> None:
        if message.topic == topics.HOME_ASSISTANT_STATUS and message.payload == b"online":
            delay_s = random.uniform(0, BIRTH_DELAY_S)
            self._in_loop(lambda: self._loop.call_later(delay_s, self._announce))

    def _in_loop(self, call: Any) -> None:
        """Have the event loop call, from the MQTT client's thread."""
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            logger.debug("the bridge has stopped meanwhile")

    def _meters(self) -> list[PolledMeter]:
        return [meter for poller in self.pollers for meter in poller.meters.values()]

    def _meter_info(self, meter: PolledMeter) -> dict[str, Any]:
        config = meter.meter
        said = {
            "name": config.name,
            "manufacturer": config.model.maker,
            "model": config.model.title,
            "serial": meter.serial,
            "wiring": meter.wiring,
            "bridge": self._name,
            "unit_id": config.unit,
            "interval": config.interval_s,
            "quantities": list(meter.registers),
            "events": list(meter.events),
        }
        return {key: value for key, value in said.items() if value not in (None, [])}

    def _bridge_info(self) -> dict[str, Any]:
        meters = self._meters()
        errors = [poller.last_error for poller in self.pollers if poller.last_error]
        return {
            "version": __version__,
            "contract": CONTRACT,
            "started": format_time(self._started),
            "host": socket.gethostname(),
            "gateways": [_gateway_info(poller) for poller in self.pollers],
            "meters": [meter.meter.meter_id for meter in meters],
            "polls": sum(meter.tally.readings for meter in meters),
            "errors": sum(meter.tally.timeouts + meter.tally.faults for meter in meters),
            "held_back": sum(meter.tally.held for meter in meters),
        } | ({"last_error": errors[-1]} if errors else {})


class _Sequence:
    """Numbers the readings of each meter, from the clock on: so it never goes back.

    At most ten readings a second are numbered, and a second has a thousand numbers.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def next(self, meter_id: str) -> int:
        last = self._last.get(meter_id)
        number = int(time.time() * 1000) if last is None else last + 1
        self._last[meter_id] = number
        return number


def as_text(value: float) -> str:
    """Return a value as decimal text, without an exponent or idle zeros."""
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _announced(meter: PolledMeter) -> discovery.Announced:
    config = meter.meter
    live = meter.live_names()
    return discovery.Announced(
        meter_id=config.meter_id,
        name=config.name,
        maker=config.model.maker,
        model=config.model.title,
        serial=meter.serial,
        intervals_s={
            name: config.interval_s if name in live else config.slow_interval_s
            for name in meter.registers
        },
    )


def _gateway_info(poller: GatewayPoller) -> dict[str, Any]:
    connection = poller.connection
    said = {
        "name": poller.gateway.name,
        "address": poller.gateway.address,
        "connected": connection.stands and connection.trouble is None,
        "framing": connection.framing,
        "requests": connection.traffic.requests,
        "connects": connection.traffic.connects,
        "skipped": poller.schedule.skipped,
        "trouble": connection.trouble,
    }
    return {key: value for key, value in said.items() if value is not None}


def _encode(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)
