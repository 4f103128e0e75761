"""Publisher: what the bridge says on the bus, and says again when the broker has been away.

Lives in the event loop; the MQTT client has its own thread and takes messages without blocking.
"""

import asyncio
import json
import logging
import random
import socket
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from paho.mqtt.client import MQTTMessage, MQTTMessageInfo

from contract import topics
from contract.readings import Reading, format_time
from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.polling.poller import GatewayPoller
from gateway_bridge.publishing import discovery
from gateway_bridge.publishing.info import announced, gateway_info, meter_info
from gateway_bridge.publishing.journal import Journal
from gateway_bridge.publishing.numbering import Numbering
from gateway_bridge.publishing.replay import Replay, is_done
from gateway_bridge.settings import BridgeSettings
from service import __version__
from service.mqtt import MqttClient, Subscription

logger = logging.getLogger(__name__)

CONTRACT = 1
INFO_EACH_S = 60.0
BIRTH_DELAY_S = 5.0
"""Home Assistant has just started: not all bridges should answer in the same instant."""
FLUSH_S = 0.5
MOST_UNACKNOWLEDGED = 500
"""Beyond these the broker has stalled: a reading waits in the journal for a replay instead."""


class Publisher:
    """Speaks for the meters of one bridge; `pollers` are told to it before `start`."""

    def __init__(self, settings: BridgeSettings) -> None:
        self.pollers: Sequence[GatewayPoller] = ()
        self._name = settings.bridge_name
        self._started = datetime.now(UTC)
        self._loop = asyncio.get_running_loop()
        self._numbering = Numbering()
        self._journal = (
            Journal(
                settings.journal_path,
                settings.journal_hours * 3600,
                settings.journal_megabytes * 1_000_000,
            )
            if settings.journal_hours
            else None
        )
        self._replay: Replay | None = None
        self._last: dict[str, Reading] = {}
        self._under_way: deque[MQTTMessageInfo] = deque()
        self._client = MqttClient(
            settings,
            f"meters-bridge-{self._name}",
            status_topic=topics.bridge(self._name, "status"),
            subscriptions=(
                Subscription(topics.HOME_ASSISTANT_STATUS, 1),
                Subscription(topics.bridge(self._name, "replay"), 1),
            ),
            on_connect=lambda: self._in_loop(self._say_everything),
            on_message=self._heard,
        )

    def start(self) -> None:
        """Open the journal, and begin to connect to the broker, in the background."""
        names = [meter.meter.meter_id for meter in self._meters()]
        if self._journal:
            self._journal.start(self._numbering, names)
        self._replay = Replay(self._name, names, self._client, self._numbering, self._journal)
        self._client.start()

    def stop(self) -> None:
        """Say goodbye for each meter and the bridge."""
        for meter in self._meters():
            self._say(topics.status(meter.meter.meter_id), topics.OFFLINE)
        if self._journal:
            self._journal.stop()
        self._client.stop(FLUSH_S)

    async def replay(self) -> None:
        """Send again what recorders ask for, until cancelled."""
        assert self._replay
        await self._replay.run()

    async def tell_info(self) -> None:
        """Publish the bridge's info each minute, until cancelled."""
        while True:
            await asyncio.sleep(INFO_EACH_S)
            self._say_info()

    def reading(self, meter: PolledMeter, ts: datetime, values: dict[str, float]) -> None:
        """Publish a reading, first whole and then value by value."""
        meter_id = meter.meter.meter_id
        reading = Reading(meter_id, ts, values, seq=self._numbering.next(meter_id))
        self._last[meter_id] = reading
        text = reading.encode()
        if self._journal:
            self._journal.add(reading, text)
        self._publish_reading(reading, text)

    def changed(self, meter: PolledMeter) -> None:
        """Publish a meter's status, info and discovery anew."""
        self._say_meter(meter)
        self._say_info()

    def _publish_reading(self, reading: Reading, text: str) -> None:
        meter_id = reading.meter_id
        while self._under_way and is_done(self._under_way[0]):
            self._under_way.popleft()
        flows = self._client.connected and len(self._under_way) < MOST_UNACKNOWLEDGED
        # What does not flow now would come late, before what is new then. The journal has it.
        if flows or self._journal is None:
            info = self._client.publish(topics.reading(meter_id), text, qos=1, retain=True)
            self._under_way.append(info)
        if flows:
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
                self._publish_reading(last, last.encode())

    def _say_meter(self, meter: PolledMeter) -> None:
        meter_id = meter.meter.meter_id
        status = topics.ONLINE if meter.online else topics.OFFLINE
        self._say(topics.status(meter_id), status)
        self._say(topics.info(meter_id), _encode(meter_info(meter, self._name)))
        self._say(*discovery.meter_message(announced(meter), self._name))

    def _announce_bridge(self) -> None:
        self._say(*discovery.bridge_message(self._name))

    def _announce(self) -> None:
        self._announce_bridge()
        for meter in self._meters():
            self._say(*discovery.meter_message(announced(meter), self._name))

    def _say_info(self) -> None:
        self._say(topics.bridge(self._name, "info"), _encode(self._bridge_info()))

    def _say(self, topic: str, payload: str) -> None:
        """Publish what is retained; while the broker is away it is not queued but said later."""
        if self._client.connected:
            self._client.publish(topic, payload, qos=1, retain=True)

    def _heard(self, message: MQTTMessage) -> None:
        """Take a message, in the MQTT client's thread."""
        if message.topic != topics.HOME_ASSISTANT_STATUS:
            assert self._replay
            self._in_loop(self._replay.handle, message.payload)
        elif message.payload == b"online":
            delay_s = random.uniform(0, BIRTH_DELAY_S)
            self._in_loop(self._loop.call_later, delay_s, self._announce)

    def _in_loop(self, call: Callable[..., object], *arguments: Any) -> None:
        """Have the event loop call, from the MQTT client's thread."""
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            logger.debug("the bridge has stopped meanwhile")

    def _meters(self) -> list[PolledMeter]:
        return [meter for poller in self.pollers for meter in poller.meters.values()]

    def _bridge_info(self) -> dict[str, Any]:
        meters = self._meters()
        errors = [poller.last_error for poller in self.pollers if poller.last_error]
        return {
            "version": __version__,
            "contract": CONTRACT,
            "started": format_time(self._started),
            "host": socket.gethostname(),
            "gateways": [gateway_info(poller) for poller in self.pollers],
            "meters": [meter.meter.meter_id for meter in meters],
            "polls": sum(meter.tally.readings for meter in meters),
            "errors": sum(meter.tally.timeouts + meter.tally.faults for meter in meters),
            "held_back": sum(meter.tally.held for meter in meters),
            "journal": None if self._journal is None else self._journal.description(),
            "sent_again": self._replay.sent if self._replay else 0,
        } | ({"last_error": errors[-1]} if errors else {})


def as_text(value: float) -> str:
    """Return a value as decimal text, without an exponent or idle zeros."""
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _encode(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)
