"""Subscribes, batches, stores, acknowledges: in this order, so that no crash loses a reading.

The MQTT thread decides what each message is and queues its contents; the main thread commits
what has arrived, within COMMIT_INTERVAL, and acknowledges each message after its commit, on the
connection that delivered it. The broker delivers unacknowledged messages again, and rows are
unique by meter and time.
"""

import json
import logging
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import Empty, SimpleQueue

from paho.mqtt.client import MQTTMessage

from contract import topics
from contract.errors import PayloadError
from contract.times import format_time
from recorder.commit_window import CommitWindow
from recorder.inbox import BridgeMessage, Contents, Inbox, SettingsMessage, UtilityMessage
from recorder.leader_election import LeaderElection
from recorder.meter_infos import MeterInfos
from recorder.peaks import Peaks
from recorder.replays import Replays
from recorder.settings import RecorderSettings
from recorder.storage import Storage
from service import __version__
from service.amounts import amount
from service.client_ids import kept_client_id
from service.mqtt import OWN_QOS, MqttClient, Subscription

logger = logging.getLogger(__name__)

MOST_IN_BATCH = 500
LONGEST_BATCH_S = 0.2
IDLE_S = 0.005
"""Seconds without a message that end a batch: brokers stop at their in-flight window."""
BURST_CHECK_S = 0.25
SLOW_TURN_S = 1.0
"""Seconds of a turn (batch, commit, upkeep) after which the broker has held readings back."""
MOST_QUEUED = 10_000
FULL_PAUSE_S = 0.02
INFO_INTERVAL_S = 60.0
LEAVE_S = 5.0


@dataclass(slots=True)
class Delivery:
    """The contents of a message, and the message to acknowledge once they are stored."""

    contents: Contents
    message: MQTTMessage | None
    connection: int


class Recorder:
    """Stores what is published, until it is stopped."""

    def __init__(self, settings: RecorderSettings, storage: Storage) -> None:
        self._storage = storage
        storage.on_change = self._publish_info
        self._inbox = Inbox(
            storage.meters(),
            storage.snapshot_meters(),
            new_meters_per_hour=settings.new_meters_per_hour,
            now_s=time.monotonic(),
        )
        self._queue: SimpleQueue[Delivery] = SimpleQueue()
        self._waiting: list[Delivery] = []
        # In a group, what waits at one recorder would be a gap to the others.
        self._window = CommitWindow(0 if settings.recorder_group else settings.commit_interval)
        self._connection = 0
        self._stopping = threading.Event()
        self._name, self._group = settings.recorder_name, settings.recorder_group
        self._started = datetime.now(UTC)
        self._last_commit: datetime | None = None
        self._given = self._stored = self._dropped = 0
        self._info_due_s = self._turn_s = 0.0
        self._mqtt = MqttClient(
            settings,
            kept_client_id("-".join(("meters-recorder", *filter(None, (self._group, self._name))))),
            subscriptions=_subscriptions(self._name, self._group),
            status_topic=topics.recorder(self._name, "status"),
            on_connect=self._connected,
            on_message=self._receive,
            clean_session=False,
            manual_ack=True,
        )
        self._infos = MeterInfos(storage)
        self._peaks = Peaks(storage, settings.zone, settings.peak_interval)
        self._replays = Replays(self._name, storage, direct=self._group is not None)
        self._election = LeaderElection(storage, self._group, self._name)

    def run(self, stop: threading.Event) -> None:
        """Record until `stop` is set; then store what has arrived, and disconnect."""
        self._mqtt.start()
        while not stop.is_set():
            self._storage.follow_file(stop)
            self._take(self._next_batch())
            if self._commit_is_due():
                self._commit(stop)
            self._storage.sync()
            if self._election.is_leader():
                if self._mqtt.connected:
                    self._request_replays(stop)
                    self._publish_peaks()
                self._storage.run_upkeep()
            if time.monotonic() >= self._info_due_s:
                self._publish_info()
        self._leave_group(stop)
        self._stopping.set()
        self._store_the_rest(stop)
        self._election.resign()
        self._publish_info()
        self._mqtt.stop()
        logger.info(
            "stopped: %s stored, %s",
            amount(self._stored, "reading"),
            amount(self._duplicates, "duplicate"),
        )

    @property
    def _duplicates(self) -> int:
        return self._given - self._stored - self._storage.too_old

    def _connected(self) -> None:
        self._replays.connected.set()
        self._publish_info()

    def _receive(self, message: MQTTMessage) -> None:
        """Handle a message, in the MQTT thread; waits where the database cannot keep up."""
        while self._queue.qsize() >= MOST_QUEUED:
            if self._stopping.is_set():
                return
            if message.qos == 0 and self._storage.trouble:
                self._dropped += 1  # a mirror, or a value without a promise
                return
            time.sleep(FULL_PAUSE_S)
        if self._stopping.is_set():
            return
        contents = self._inbox.take(
            _topic(message),
            bytes(message.payload),
            retained=message.retain,
            arrived=datetime.now(UTC),
            now_s=time.monotonic(),
        )
        message.payload = b""  # from now on only its id is needed, for the acknowledgement
        if message.qos or _has_contents(contents):
            self._queue.put(Delivery(contents, message, self._mqtt.connection))

    def _next_batch(self) -> list[Delivery]:
        """Wait for messages; return them at 500, after 200 ms, or when no more arrive."""
        batch: list[Delivery] = []
        ends_s = time.monotonic() + BURST_CHECK_S
        while len(batch) < MOST_IN_BATCH:
            left_s = max(ends_s - time.monotonic(), 0)
            try:
                batch.append(self._queue.get(timeout=min(left_s, IDLE_S) if batch else left_s))
            except Empty:
                break
            if len(batch) == 1:
                ends_s = time.monotonic() + LONGEST_BATCH_S
        now_s = time.monotonic()
        if now_s - self._turn_s > SLOW_TURN_S:
            self._inbox.readings_were_late(now_s)
        self._turn_s = now_s
        closed = self._inbox.close_due(now_s)
        return [*batch, Delivery(closed, None, 0)] if _has_contents(closed) else batch

    def _take(self, batch: Sequence[Delivery]) -> None:
        """Let a batch wait for its commit."""
        if not batch:
            return
        if batch[0].connection > self._connection:
            self._connection = batch[0].connection
            self._window.connected()
        self._waiting += batch
        held = sum(1 for delivery in batch if delivery.message and delivery.message.qos)
        journaled = self._storage.journaled_meters
        urgent = not all(_may_wait(delivery.contents, journaled) for delivery in batch)
        self._window.add(held, urgent=urgent, now_s=time.monotonic())
        readings = [reading for delivery in batch for reading in delivery.contents.readings]
        self._peaks.take(readings)
        numbered = {reading.meter_id for reading in readings if reading.seq is not None}
        self._replays.handle_numbered(numbered.difference(journaled))
        if not self._commit_is_due():
            logger.debug("commit window: %s waiting", amount(len(self._waiting), "message"))

    def _commit_is_due(self) -> bool:
        if not self._waiting:
            return False
        now_s = time.monotonic()
        if self._window.stalled(now_s):
            self._inbox.readings_were_late(now_s)
        return self._window.due(now_s) or not self._mqtt.connected

    def _commit(self, give_up: threading.Event) -> bool:
        """Commit and acknowledge everything that waits; False where that took too long."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            if not self._store(waiting, give_up):
                self._waiting = waiting
                return False
            self._window.committed(time.monotonic())
        return True

    def _request_replays(self, stop: threading.Event) -> None:
        if self._replays.may_ask() and not self._commit(stop):
            return  # else readings that wait here would be requested again
        for bridge, request in self._replays.due_requests():
            topic = topics.bridge(bridge, "replay")
            self._mqtt.publish(topic, request.encode(), qos=1, retain=False)

    def _publish_peaks(self) -> None:
        for topic, payload in self._peaks.due(time.monotonic(), datetime.now(UTC)):
            self._mqtt.publish(topic, payload, qos=0, retain=True)

    def _store(self, batch: Sequence[Delivery], give_up: threading.Event) -> bool:
        """Commit a batch and acknowledge it; False where it could not be stored in time."""
        readings = [reading for delivery in batch for reading in delivery.contents.readings]
        rejected = [message for delivery in batch for message in delivery.contents.rejected]
        if readings or rejected:
            stored = self._storage.write(readings, rejected, give_up)
            if stored is None:
                return False
            self._stored += stored
            self._given += len(readings)
            self._last_commit = datetime.now(UTC)
        changed = [each.contents.settings for each in batch if each.contents.settings]
        if not self._store_settings(changed, {each.meter_id for each in readings}, give_up):
            return False
        if not all(self._store_entered(delivery.contents, give_up) for delivery in batch):
            return False
        for delivery in batch:
            if delivery.contents.from_bridge:
                self._handle(delivery.contents.from_bridge, give_up)
        self._mqtt.ack((each.message, each.connection) for each in batch if each.message)
        return True

    def _store_settings(
        self, changed: Sequence[SettingsMessage], meters: set[str], give_up: threading.Event
    ) -> bool:
        """Store settings of meters, and the infos of meters that may have had no row until now."""
        for message in changed:
            if not message.by_person:
                self._infos.take(message.meter_id, message.settings)
                meters.add(message.meter_id)
        if not self._infos.store(meters, give_up):
            return False
        return all(self._change_settings(each, give_up) for each in changed if each.by_person)

    def _change_settings(self, message: SettingsMessage, give_up: threading.Event) -> bool:
        meter_id, settings = message.meter_id, message.settings
        try:
            stored = self._storage.change_settings(meter_id, settings, give_up)
        except PayloadError as error:
            return self._reject(message, error, give_up)
        if stored:
            logger.info("meter %s: set: %s", meter_id, settings.model_dump_json(exclude_unset=True))
        return stored

    def _store_entered(self, contents: Contents, give_up: threading.Event) -> bool:
        """Store prices, and readings of the utility's meter."""
        utility, prices = contents.utility, contents.prices
        if utility and not self._change_utility_reading(utility, give_up):
            return False
        return not prices or self._storage.store_prices(*prices, give_up)

    def _change_utility_reading(self, message: UtilityMessage, give_up: threading.Event) -> bool:
        meter_id, entry = message.meter_id, message.entry
        try:
            stored = self._storage.change_utility_reading(meter_id, entry, give_up)
        except PayloadError as error:
            return self._reject(message, error, give_up)
        if stored:
            logger.info("meter %s: reading of the utility's meter: %s", meter_id, entry.encode())
        return stored

    def _reject(
        self,
        message: SettingsMessage | UtilityMessage,
        error: PayloadError,
        give_up: threading.Event,
    ) -> bool:
        rejected = self._inbox.reject(message, error, time.monotonic()).rejected
        return not rejected or self._storage.write([], rejected, give_up) is not None

    def _handle(self, message: BridgeMessage, give_up: threading.Event) -> None:
        if message.answer:
            self._replays.handle_answer(message.bridge, message.answer, give_up)
        elif message.is_info:
            self._replays.handle_info(message.bridge)
        else:
            self._replays.handle_status(message.bridge, online=bool(message.online))

    def _leave_group(self, stop: threading.Event) -> None:
        """Leave all readings from now on to the other recorders of the group.

        While a recorder of the group is away, Mosquitto keeps queueing its share for it.
        """
        if not self._group or not self._mqtt.connected:
            return
        self._mqtt.unsubscribe(topics.shared(self._group, topics.ALL_READINGS))
        ends_s = time.monotonic() + LEAVE_S
        while time.monotonic() < ends_s:
            batch = self._next_batch()
            if not batch or not self._store(batch, stop):
                return

    def _store_the_rest(self, stop: threading.Event) -> None:
        rest = [*self._waiting, Delivery(self._inbox.close_all(time.monotonic()), None, 0)]
        self._waiting = []
        while not self._queue.empty():
            rest.append(self._queue.get_nowait())
        for start in range(0, len(rest), MOST_IN_BATCH):
            if not self._store(rest[start : start + MOST_IN_BATCH], stop):
                logger.warning(
                    "%s not stored; the broker will deliver them again",
                    amount(len(rest) - start, "message"),
                )
                return

    def _publish_info(self) -> None:
        self._info_due_s = time.monotonic() + INFO_INTERVAL_S
        if not self._mqtt.connected:
            return
        last = self._last_commit
        description = {
            "version": __version__,
            "since": format_time(self._started),
            "database": self._storage.name,
            "stored": self._stored,
            "duplicates": self._duplicates,
            "too_old": self._storage.too_old,
            "rejected": self._inbox.rejected,
            "ahead_of_clock": self._inbox.ahead_of_clock,
            "dropped": self._dropped,
            "asked_again": self._replays.asked,
            "gaps_lost": self._replays.lost,
            "queue": self._queue.qsize() + len(self._waiting),
            "waiting": len(self._waiting),
            "last_commit": format_time(last) if last else None,
            "trouble": self._storage.trouble,
        }
        self._mqtt.publish_own(topics.recorder(self._name, "info"), json.dumps(description))


def _has_contents(contents: Contents) -> bool:
    has_readings = contents.readings or contents.rejected
    by_person = contents.settings or contents.utility or contents.prices
    return bool(has_readings or contents.from_bridge or by_person)


def _may_wait(contents: Contents, journaled: Collection[str]) -> bool:
    """Return whether a message can wait: the journal of a bridge has all its readings."""
    of_person = contents.settings is not None and contents.settings.by_person
    by_person = of_person or contents.utility or contents.prices
    of_bridge = contents.from_bridge is not None and not contents.from_bridge.is_info
    if contents.rejected or of_bridge or by_person:
        return False
    return all(
        reading.seq is not None and reading.meter_id in journaled and not reading.stamped_on_arrival
        for reading in contents.readings
    )


def _subscriptions(name: str, group: str | None) -> tuple[Subscription, ...]:
    """Return what to subscribe to.

    A group does not subscribe to scalars: those of one burst would go to different recorders.
    """
    of_all = (
        topics.ALL_INFOS,
        topics.ALL_SETTINGS,
        topics.ALL_UTILITY_READINGS,
        topics.ALL_PRICES,
        topics.REPLAY_ANSWERS,
        topics.BRIDGE_STATUSES,
    )
    others = [Subscription(topic_filter, 1) for topic_filter in of_all]
    others.append(Subscription(topics.BRIDGE_INFOS, 0))  # once a minute: not to be queued
    others.append(Subscription(topics.recorder(name, "info"), OWN_QOS))
    if group:
        shared = Subscription(topics.shared(group, topics.ALL_READINGS), 1)
        return (shared, Subscription(topics.recorder(name, "again"), 1), *others)
    return (Subscription(topics.ALL_LEAVES, 0), Subscription(topics.ALL_READINGS, 1), *others)


def _topic(message: MQTTMessage) -> str:
    try:
        return message.topic
    except UnicodeDecodeError:
        return f"{topics.ROOT}/(not UTF-8)/reading"
