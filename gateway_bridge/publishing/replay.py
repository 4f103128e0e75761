"""Sends again the readings that a recorder lacks, slowly enough to keep live readings first.

Anyone who may publish can send requests: however many come, a few are decoded and one is answered
at a time, with a pause after each. A request that comes again is not answered again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence

from paho.mqtt.client import MQTTMessageInfo

from contract import topics
from contract.errors import PayloadError
from contract.replay import ReplayAnswer, Replayed, ReplayRequest, decode, runs
from gateway_bridge.publishing.journal import Journal
from gateway_bridge.publishing.journal_file import Kept
from gateway_bridge.publishing.numbering import Numbering
from service.amounts import amount
from service.mqtt import MqttClient, is_done

logger = logging.getLogger(__name__)

SLICE = 2000
"""Readings of an answer; the recorder requests the next ones when it has stored these."""
IN_FLIGHT = 20
"""Replayed readings that a live reading waits for at most."""
PAUSE_S = 0.04
"""Pause after `IN_FLIGHT` readings: at most 500 readings a second."""
ACKNOWLEDGED_S = 30.0
CHECK_S = 0.01
ANSWER_PAUSE_S = 0.2
"""Pause after an answer, and between looks at new requests: at most five answers a second."""
DECODED = 2
"""Requests to decode at a time; each may have a number for each of ten thousand meters."""
MOST_RECORDERS = 50
MOST_REMEMBERED = 1000
LOG_PERIOD_S = 60.0


class Replay:
    """Answers recorders one after the other; a recorder's newer request replaces its older one.

    Without a journal the answers are empty. Runs in the event loop.
    """

    def __init__(
        self,
        bridge: str,
        meters: Iterable[str],
        client: MqttClient,
        numbering: Numbering,
        journal: Journal | None,
    ) -> None:
        self._bridge = bridge
        self._meters = list(meters)
        self._client = client
        self._numbering = numbering
        self._journal = journal
        self._received: deque[bytes] = deque()
        self._requests: dict[str, ReplayRequest] = {}
        self._known: dict[tuple[str, str], None] = {}
        self._logged_s = -LOG_PERIOD_S
        self._sent_so_far: dict[str, int] = {}
        self._requested = asyncio.Event()
        self.sent = 0
        """Counts replayed readings."""

    def handle(self, payload: bytes) -> None:
        """Queue a recorder's request; beyond 50 that wait, further ones are dropped."""
        if len(self._received) < MOST_RECORDERS:
            self._received.append(payload)
            self._requested.set()

    async def run(self) -> None:
        """Answer requests until cancelled."""
        while True:
            await self._requested.wait()
            self._requested.clear()
            while self._received or self._requests:
                for _ in range(min(DECODED, len(self._received))):
                    self._accept(self._received.popleft())
                if self._requests:
                    recorder = next(iter(self._requests))
                    await self._answer(self._requests.pop(recorder))
                await asyncio.sleep(ANSWER_PAUSE_S)

    def _accept(self, payload: bytes) -> None:
        """Take a request to be answered, unless it is invalid or was taken before."""
        try:
            request = decode(ReplayRequest, payload)
        except PayloadError as error:
            if time.monotonic() - self._logged_s >= LOG_PERIOD_S:
                self._logged_s = time.monotonic()
                logger.warning("replay: invalid request ignored: %.200s", error)
            return
        key = (request.recorder, request.request)
        if key in self._known:
            return
        self._known[key] = None
        if len(self._known) > MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        if len(self._requests) < MOST_RECORDERS or request.recorder in self._requests:
            self._requests[request.recorder] = request

    async def _answer(self, request: ReplayRequest) -> None:
        """Send the requested readings, up to a slice, and publish which they were.

        What is read from now on is live: to send it again would take ever longer.
        """
        answers: dict[str, Replayed] = {}
        batch: list[tuple[str, str]] = []
        left = SLICE
        for meter in self._meters:
            self._numbering.not_below(meter, request.after.get(meter, 0))
        used = {meter: self._numbering[meter] for meter in self._meters}
        for meter in self._meters:
            if left <= 0:
                break
            after = request.after.get(meter, 0)
            answer, readings = await self._look_up(meter, after, used[meter], left)
            left -= len(readings)
            if answer:
                answers[meter] = answer
            topic, there = _topic(request, meter), request.have.get(meter, ())
            batch += [(topic, kept.reading) for kept in readings if not _is_in(kept.seq, there)]
            whole = len(batch) - len(batch) % IN_FLIGHT  # the rest goes with the next meter's
            if not await self._send(batch[:whole]):
                return  # the broker is away: the recorder will ask again
            del batch[:whole]
        if not await self._send(batch):
            return
        answer_to = ReplayAnswer(
            recorder=request.recorder, request=request.request, meters=answers, more=left <= 0
        )
        topic = topics.bridge(self._bridge, "replayed")
        self._client.publish(topic, answer_to.encode(), qos=1, retain=False)
        self._log(request.recorder, SLICE - left, ends=left > 0)

    def _log(self, recorder: str, sent: int, *, ends: bool) -> None:
        sent += self._sent_so_far.pop(recorder, 0)
        if not ends and len(self._sent_so_far) < MOST_RECORDERS:
            self._sent_so_far[recorder] = sent
        elif sent:
            logger.info("recorder %s: %s replayed", recorder, amount(sent, "reading"))

    async def _look_up(
        self, meter: str, after: int, used: int, most: int
    ) -> tuple[Replayed | None, Sequence[Kept]]:
        """Return the readings of a meter from after a number up to another, and what they are."""
        if self._journal is None or after == used:
            return Replayed(after=after, upto=max(after, used), sent=[]), ()
        found = await asyncio.to_thread(self._journal.after, meter, after, most)
        readings = [kept for kept in found.readings if kept.seq <= used]
        numbers = [kept.seq for kept in readings]
        last = numbers[-1] if numbers else 0
        upto = last if len(numbers) == most else max(last, used)
        if found.since > upto:
            return None, ()
        sent = runs(numbers)
        return Replayed(after=found.since, upto=upto, sent=sent, oldest=found.oldest), readings

    async def _send(self, readings: Sequence[tuple[str, str]]) -> bool:
        """Publish readings, a few at a time; return False where the broker does not take them."""
        for start in range(0, len(readings), IN_FLIGHT):
            under_way = [
                self._client.publish(topic, reading, qos=1, retain=False)
                for topic, reading in readings[start : start + IN_FLIGHT]
                if self._client.connected
            ]
            self.sent += len(under_way)
            await asyncio.sleep(PAUSE_S)
            if not (await _acknowledged(under_way) and self._client.connected):
                return False
        return True


def _is_in(seq: int, runs: Sequence[tuple[int, int]]) -> bool:
    return any(first <= seq <= last for first, last in runs)


def _topic(request: ReplayRequest, meter: str) -> str:
    """Return the topic for the readings of a meter that a request asks for."""
    if request.direct:
        return topics.recorder(request.recorder, "again")
    return topics.reading(meter)


async def _acknowledged(under_way: Sequence[MQTTMessageInfo]) -> bool:
    """Wait until the broker has acknowledged messages; return False where it does not."""
    for _ in range(int(ACKNOWLEDGED_S / CHECK_S)):
        if all(is_done(message) for message in under_way):
            return True
        await asyncio.sleep(CHECK_S)
    return False
