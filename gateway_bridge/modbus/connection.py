"""Connection: keeps the way to one gateway open, and says in words what is wrong with it."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from gateway_bridge.meter.plan import SMALLEST_READ
from gateway_bridge.modbus.errors import GatewayError, MeterFault, MeterTimeout
from gateway_bridge.modbus.traffic import Traffic
from gateway_bridge.modbus.transport import INPUT, Framing, Transport
from gateway_bridge.polling.lengths import Lengths
from gateway_bridge.site.site import Gateway

logger = logging.getLogger(__name__)

SHORTEST_DELAY_S, LONGEST_DELAY_S = 0.5, 30.0
DELAY_SHARE = 0.15
"""The next attempt comes after this share of the outage so far: soon after a short one."""
SLACK_S = 0.3
"""An answer may take this much longer than the line's own time for it."""
FRAMING_NAMES: dict[Framing, str] = {"tcp": "Modbus TCP", "rtu": "RTU over TCP"}
CLOSED_AT_ONCE = (
    "accepts connections and closes them again; is another client connected?"
    " Many gateways serve one only"
)
IN_EITHER = "in Modbus TCP or in RTU over TCP"
NO_METER_ANSWERS = (
    "accepts connections, but no meter answers {framing};"
    " check METER_IDS, the A and B wires, baud rate and parity"
)
SHARED = (
    "gives out the answers to another client here, too; switch on its multi-host mode, or let that"
    " client read the meters over MQTT"
)
MOST_OVERHEARD = 100
OVERHEARD_TO_TELL = 5
"""So many answers that nobody here asked for, with none of ours missing, are another client's."""


class Connection:
    """The connection to one gateway, made anew whenever it is lost.

    `trouble` is None while the gateway answers, else a sentence about what is wrong. `shared` tells
    that it gives us the answers to another client, too; `doubts` how often, by unit id, an answer
    came that might have been ours as well as the one that was taken for it.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.framing: Framing | None = None if gateway.framing == "auto" else gateway.framing
        self.trouble: str | None = None
        self.lengths = Lengths()
        self.shared = False
        self.doubts: Counter[int] = Counter()
        self.traffic = Traffic()
        longest_s = gateway.cost.request_ms(max(m.model.limit for m in gateway.meters)) / 1000
        self.timeout_s = max(gateway.timeout_s, longest_s + SLACK_S)
        self._transport = self._new_transport(self.framing or "tcp")
        self._losses = self._overheard = 0
        self._others: list[tuple[int, int]] = []
        self._lost_at_s = time.monotonic()
        self._silent_since_s: float | None = None
        self._ever_heard = self._heard_since_connect = False

    @property
    def stands(self) -> bool:
        """Whether there is a connection to ask over."""
        return self._transport.connected

    @property
    def mixes_answers(self) -> bool:
        """Whether the answer to another client could be taken for ours."""
        return not (self._transport.echoes_ids or self.gateway.serial)

    @property
    def outage_s(self) -> float:
        """For how long there has been no answer since the connection was lost; 0 if it is not."""
        return time.monotonic() - self._lost_at_s if self._losses else 0.0

    async def establish(self, units: Iterable[int]) -> bool:
        """Try once to connect, after a pause where it failed before; False where it fails again.

        Where the framing is not known, `units` are asked for it.
        """
        if self._losses > 1:
            await asyncio.sleep(self.delay_s())
        try:
            await self._connect()
            if self.framing is None and not await self._find_framing(units):
                raise GatewayError(NO_METER_ANSWERS.format(framing=IN_EITHER))
        except GatewayError as error:
            self.lost(error, tell=True)
            return False
        return True

    def delay_s(self) -> float:
        """Return how long to wait before the next attempt, after all that have failed since."""
        since_s = self._lost_at_s if self._losses else self._silent_since_s or time.monotonic()
        share_s = (time.monotonic() - since_s) * DELAY_SHARE
        delay_s = min(max(share_s, SHORTEST_DELAY_S), LONGEST_DELAY_S)
        return delay_s * random.uniform(0.9, 1.1)

    async def renew(self, unit: int) -> None:
        """Give up the connection, on which nobody answers, for a new one.

        Where the settings leave the framing open it is found anew: it may be another gateway.
        Raises GatewayError, and MeterTimeout where the unit answers in no framing.
        """
        self._transport.close()
        await self._connect()
        if self.gateway.framing == "auto" and not await self._find_framing([unit]):
            raise MeterTimeout(f"no answer {IN_EITHER}")

    async def read(self, unit: int, address: int, count: int, function: int = INPUT) -> bytes:
        """Return registers of a unit; raises as Transport.read does."""
        started_s = time.monotonic()
        self.traffic.requests += 1
        self.lengths.asked(count)
        answers, by_meter = self._transport.answers, True
        try:
            return await self._transport.read(unit, address, count, function)
        except MeterTimeout:
            by_meter = False
            self._overheard = 0  # what comes now may be the late answer
            raise
        finally:
            took_s = time.monotonic() - started_s
            self.traffic.busy_s += took_s
            if self._transport.answers > answers:
                self.traffic.answered(took_s)
                self._heard(by_meter=by_meter)
                for other in self._others:
                    self._anothers(*other)
            self._others.clear()  # without an answer of our own they may have been ours, damaged

    @property
    def sent_at(self) -> datetime:
        """When the last request went out, in UTC."""
        return self._transport.sent_at

    def lost(self, error: GatewayError, *, tell: bool = False) -> None:
        """Take note that the connection is gone, or did not come about.

        One lost connection or two are no news: many gateways close those that are idle.
        """
        self._transport.close()
        if not self._losses:
            self._lost_at_s = time.monotonic()
        self._losses += 1
        if tell:
            self.tell(str(error))
        elif self._losses > 2:
            self.tell(str(error) if self._heard_since_connect else CLOSED_AT_ONCE)

    def tell(self, trouble: str) -> None:
        """Say what is wrong with the gateway, once."""
        if trouble != self.trouble:
            logger.warning("gateway %s: %s", self.gateway.address, trouble)
        self.trouble = trouble

    def falls_silent(self) -> None:
        """Take note that no meter answers any more, though the connection stands."""
        self._silent_since_s = time.monotonic()
        self.tell(NO_METER_ANSWERS.format(framing="any more"))

    def close(self) -> None:
        """Close the connection for good."""
        self._transport.close()

    async def _connect(self) -> None:
        await self._transport.connect()
        self.traffic.connects += 1
        self._heard_since_connect = False

    async def _find_framing(self, units: Iterable[int]) -> bool:
        """Ask each unit in each framing until one answers; False if none does."""
        for unit in units:
            for framing in (self._transport.framing, _other(self._transport.framing)):
                if framing != self._transport.framing:
                    self._transport.close()
                    self._transport = self._new_transport(framing)
                    await self._connect()
                try:
                    await self.read(unit, 0, SMALLEST_READ)
                except (MeterTimeout, MeterFault):
                    if not self._heard_since_connect:
                        continue
                self.framing = framing
                return True
        return False

    def _heard(self, *, by_meter: bool) -> None:
        self._losses, self._heard_since_connect = 0, True
        if self._silent_since_s is not None and not by_meter:
            return  # it only says itself that no meter answers
        if self.trouble is not None or not self._ever_heard:
            since_s = self._silent_since_s or self._lost_at_s
            away_s = time.monotonic() - since_s
            again = f" again after {away_s:.0f} s" if self._ever_heard else ""
            logger.info(
                "gateway %s: answers%s, %s",
                self.gateway.address,
                again,
                "RTU" if self.gateway.serial else FRAMING_NAMES[self._transport.framing],
            )
        self.trouble, self._silent_since_s = None, None
        self._ever_heard = True

    def _new_transport(self, framing: Framing) -> Transport:
        gateway = self.gateway
        return Transport(
            gateway.where,
            framing,
            timeout_s=self.timeout_s,
            overhear=self._overhear,
            doubt=self._doubt,
        )

    def _doubt(self, unit: int) -> None:
        self.doubts[unit] += 1

    def _overhear(self, unit: int, count: int) -> None:
        """Take note of an answer that does not look like ours; not yet, where ours is awaited."""
        if not self._transport.awaits:
            self._anothers(unit, count)
        elif len(self._others) < MOST_OVERHEARD:
            self._others.append((unit, count))

    def _anothers(self, unit: int, count: int) -> None:
        if not self._transport.echoes_ids:
            self.lengths.overheard(unit, count)
        self._overheard += 1
        if self._overheard >= OVERHEARD_TO_TELL and not self.shared:
            self.shared = True
            logger.warning("gateway %s: %s", self.gateway.address, SHARED)


def _other(framing: Framing) -> Framing:
    return "rtu" if framing == "tcp" else "tcp"
