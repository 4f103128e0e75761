"""Publisher: readings and state on MQTT, published again when the broker has been away.

Runs in the event loop. The MQTT client has a thread of its own and takes messages without blocking.
"""

import asyncio
import json
import logging
import random
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from paho.mqtt.client import MQTTMessage, MQTTMessageInfo

from contract import topics
from contract.readings import Reading
from contract.times import format_time
from gateway_bridge.capacity import readings_per_s, scalars_of
from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.polling.poller import Line
from gateway_bridge.publishing import discovery
from gateway_bridge.publishing.changes import Changes
from gateway_bridge.publishing.info import announced, gateway_info, meter_info
from gateway_bridge.publishing.journal import Journal
from gateway_bridge.publishing.numbering import Numbering
from gateway_bridge.publishing.replay import Replay
from gateway_bridge.settings import BridgeSettings
from service import __version__
from service.client_ids import client_id, kept_client_id
from service.errors import SettingsError
from service.mqtt import OWN_QOS, MqttClient, Subscription, is_done

logger = logging.getLogger(__name__)

CONTRACT = 1
INFO_INTERVAL_S = 60.0
INFO_DELAY_S = 0.2
"""Delay of the bridge's info after a change: a thousand meters may come online within a second."""
BIRTH_DELAY_S = 5.0
"""Longest delay of the answer when Home Assistant has started: not all bridges at once."""
FLUSH_S = 0.5
MOST_UNACKNOWLEDGED = 500
"""Unacknowledged readings that prove a stalled broker: then readings wait in the journal."""
STALLED_S = 2.0
"""Seconds whose readings prove it where these are more: at 1,000 a second, 500 prove nothing."""
LATE_S = 1.0
"""Seconds without an acknowledgement after which the journal no longer relies on the broker."""


class Publisher:
    """Publishes what is read on the lines of one bridge."""

    def __init__(self, settings: BridgeSettings, lines: Sequence[Line]) -> None:
        self._name = settings.bridge_name
        self._lines = lines
        self._meters = [meter for line in lines for meter in line.meters.values()]
        self._meter_ids = [meter.config.meter_id for meter in self._meters]
        self._gateways = {each: line.gateway.name for line in lines for each in line.meters}
        self._topics = {meter.config.meter_id: _value_topics(meter) for meter in self._meters}
        self._started = datetime.now(UTC)
        self._loop = asyncio.get_running_loop()
        self._numbering = Numbering()
        self._journal = _journal(settings)
        self._rate = readings_per_s(line.gateway for line in lines)
        self._scalars = scalars_of(settings, self._rate)
        self._changes = Changes(self._meter_ids) if self._scalars == "changed" else None
        self._last: dict[str, Reading] = {}
        self._announced: dict[str, discovery.Announced] = {}
        self._info_soon: asyncio.TimerHandle | None = None
        self._unacknowledged: deque[tuple[float, MQTTMessageInfo]] = deque()
        self._client = MqttClient(
            settings,
            _client_id(f"meters-bridge-{self._name}"),
            status_topic=topics.bridge(self._name, "status"),
            subscriptions=(
                Subscription(topics.HOME_ASSISTANT_STATUS, 1),
                Subscription(topics.bridge(self._name, "replay"), 1),
                *(Subscription(own, OWN_QOS) for own in self._own_filters()),
            ),
            on_connect=lambda: self._in_loop(self._publish_everything),
            on_disconnect=self._journal.hurry if self._journal else None,
            on_message=self._on_message,
        )
        self._replay = Replay(
            self._name, self._meter_ids, self._client, self._numbering, self._journal
        )

    def _own_filters(self) -> tuple[str, ...]:
        """Return filters that cover our retained topics, but for readings and their scalars."""
        return (
            topics.bridge(self._name, "info"),
            topics.discovery(self._name, discovery.BRIDGE_NODE),
            topics.ALL_STATUSES,
            topics.ALL_INFOS,
            topics.ALL_DISCOVERIES,
        )

    def start(self) -> None:
        """Open the journal, and start to connect to the broker in the background."""
        if self._journal:
            self._journal.start(self._numbering, self._meter_ids)
        self._client.start()

    def stop(self) -> None:
        """Publish that the meters and the bridge are offline, and disconnect."""
        for meter_id in self._meter_ids:
            self._publish(topics.status(meter_id), topics.OFFLINE)
        if self._journal:
            self._journal.stop()
        self._client.stop(FLUSH_S)

    async def run(self) -> None:
        """Publish the infos regularly, and what recorders ask for, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._replay.run(), name="replay")
            while True:
                await asyncio.sleep(INFO_INTERVAL_S)
                self._publish_info()
                for meter in self._meters:
                    self._publish_meter_info(meter)
                    await asyncio.sleep(0)

    def reading(self, meter: PolledMeter, ts: datetime, values: dict[str, float]) -> None:
        """Publish a reading, first as a whole and then value by value, and keep it."""
        meter_id = meter.config.meter_id
        self._numbering[meter_id] += 1
        reading = Reading(meter_id, ts, values, seq=self._numbering[meter_id])
        text = reading.encode()
        self._publish_reading(reading, text)
        self._last[meter_id] = reading
        if self._journal:
            self._journal.add(reading, text, urgent=not self._is_acknowledging())

    def changed(self, meter: PolledMeter) -> None:
        """Publish a meter's status and info again, and what else its change concerns."""
        self._publish_meter(meter)
        if self._info_soon is None:
            self._info_soon = self._loop.call_later(INFO_DELAY_S, self._publish_info)

    def _publish_reading(self, reading: Reading, text: str) -> None:
        while self._unacknowledged and is_done(self._unacknowledged[0][1]):
            self._unacknowledged.popleft()
        now_s = time.monotonic()
        most = max(MOST_UNACKNOWLEDGED, STALLED_S * self._rate)
        flows = self._client.connected and len(self._unacknowledged) < most
        whole, _ = self._topics[reading.meter_id]
        # What does not flow now would arrive late, before newer readings. The journal keeps it.
        if flows:
            info = self._client.publish_with(whole, text, self._scalars_of(reading))
            self._unacknowledged.append((now_s, info))
        elif self._journal is None:
            info = self._client.publish(whole, text, qos=1, retain=True)
            self._unacknowledged.append((now_s, info))

    def _is_acknowledging(self) -> bool:
        """Return whether the broker takes readings, and has acknowledged all but the last ones."""
        since_s = self._unacknowledged[0][0] if self._unacknowledged else time.monotonic()
        return self._client.connected and time.monotonic() - since_s < LATE_S

    def _scalars_of(self, reading: Reading) -> list[tuple[str, str]]:
        """Return the topics and texts of the values to publish one by one."""
        if self._scalars == "off":
            return []
        values = reading.values
        if self._changes:
            values = self._changes.among(reading.meter_id, values, time.monotonic())
        _, scalars = self._topics[reading.meter_id]
        return [(scalars[name], as_text(value)) for name, value in values.items()]

    def _publish_everything(self) -> None:
        """Publish all that a broker without memory lacks."""
        if self._changes:
            self._changes.forget()
        self._announced.clear()
        self._publish_info()
        self._publish(*discovery.bridge_message(self._name))
        for meter in self._meters:
            self._publish_meter(meter)
            last = self._last.get(meter.config.meter_id)
            if last and meter.state.online:
                self._publish_reading(last, last.encode())

    def _publish_meter(self, meter: PolledMeter) -> None:
        meter_id = meter.config.meter_id
        status = topics.ONLINE if meter.state.online else topics.OFFLINE
        self._publish(topics.status(meter_id), status)
        self._publish_meter_info(meter)
        device = announced(meter, self._scalars)
        if self._announced.get(meter_id) != device and self._client.connected:
            self._announced[meter_id] = device
            self._publish(*discovery.meter_message(device, self._name))

    def _publish_meter_info(self, meter: PolledMeter) -> None:
        meter_id = meter.config.meter_id
        info = meter_info(meter, self._name, self._gateways[meter_id])
        self._publish(topics.info(meter_id), _encode(info))

    def _announce(self) -> None:
        self._publish(*discovery.bridge_message(self._name))
        for meter in self._meters:
            self._publish(*discovery.meter_message(announced(meter, self._scalars), self._name))

    def _publish_info(self) -> None:
        if self._info_soon:
            self._info_soon.cancel()
            self._info_soon = None
        self._publish(topics.bridge(self._name, "info"), _encode(self._bridge_info()))

    def _publish(self, topic: str, payload: str) -> None:
        """Publish a retained message; without a broker it is not queued but published later."""
        if self._client.connected:
            self._client.publish_own(topic, payload)

    def _on_message(self, message: MQTTMessage) -> None:
        """Handle a message, in the MQTT client's thread.

        Recorders do not retain requests: a retained one is old, and would come at each connect.
        """
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        if topic == topics.bridge(self._name, "replay"):
            if not message.retain:
                self._in_loop(self._replay.handle, message.payload)
        elif topic == topics.HOME_ASSISTANT_STATUS and message.payload == b"online":
            delay_s = random.uniform(0, BIRTH_DELAY_S)
            self._in_loop(self._loop.call_later, delay_s, self._announce)

    def _in_loop(self, call: Callable[..., object], *arguments: Any) -> None:
        """Have the event loop call a function, from the MQTT client's thread."""
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            logger.debug("the bridge has stopped meanwhile")

    def _bridge_info(self) -> dict[str, Any]:
        states = [meter.state for meter in self._meters]
        errors = [line.last_error for line in self._lines if line.last_error]
        return {
            "version": __version__,
            "contract": CONTRACT,
            "started": format_time(self._started),
            "host": socket.gethostname(),
            "gateways": [gateway_info(line) for line in self._lines],
            "meters": self._meter_ids,
            "polls": sum(state.readings for state in states),
            "errors": sum(state.timeouts + state.faults for state in states),
            "held_back": sum(state.held for state in states),
            "journal": None if self._journal is None else self._journal.description(),
            "sent_again": self._replay.sent,
        } | ({"last_error": errors[-1]} if errors else {})


def as_text(value: float) -> str:
    """Return a value as decimal text, without an exponent or trailing zeros."""
    return repr(round(value, 3) + 0.0).removesuffix(".0")  # no exponent from 0.001 to 1e16


def _client_id(name: str) -> str:
    """Return the same client id at each start, so that the broker ends an earlier connection.

    Its last will comes before our birth message then. Where no file can keep the id, it changes.
    """
    try:
        return kept_client_id(name)
    except SettingsError as error:
        logger.warning("%s; until then it is another one at each start", error)
        return client_id(name)


def _value_topics(meter: PolledMeter) -> tuple[str, dict[str, str]]:
    """Return the topics of a meter's readings and of each of its quantities."""
    meter_id, names = meter.config.meter_id, meter.config.quantities
    return topics.reading(meter_id), {name: topics.scalar(meter_id, name) for name in names}


def _journal(settings: BridgeSettings) -> Journal | None:
    if not settings.journal_hours:
        return None
    keep_s = settings.journal_hours * 3600
    most_bytes = settings.journal_megabytes * 1_000_000
    return Journal(settings.journal_path, keep_s, most_bytes, settings.journal_interval)


def _encode(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)
