"""Connection: keeps the way to one gateway open, and reports what is wrong with it."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Iterable

from gateway_bridge.modbus.errors import GatewayError, MeterFault, MeterTimeout
from gateway_bridge.modbus.frames import INPUT, SMALLEST_READ, Framing, other
from gateway_bridge.modbus.transport import Second, Transport
from gateway_bridge.site.site import Gateway

logger = logging.getLogger(__name__)

SHORTEST_DELAY_S, LONGEST_DELAY_S = 0.25, 30.0
DELAY_SHARE = 0.025
"""Share of the outage so far after which the next attempt follows: soon after a short one."""
LONGEST_SILENCE_S = 3.5
"""Longest delay on a line where no meter responds: a probe delays none."""
RENEW_S = 5.0
"""Age from which a connection on which no meter responds is replaced before a probe."""
SLACK_S = 0.3
"""Seconds that an answer may take in addition to the line's own time."""
FRAMING_NAMES: dict[Framing, str] = {"tcp": "Modbus TCP", "rtu": "RTU over TCP"}
CLOSED_AT_ONCE = (
    "accepts connections and closes them again; check whether another client is connected:"
    " many gateways serve only one"
)
IN_EITHER = "in Modbus TCP or in RTU over TCP"
NO_METER_ANSWERS = (
    "accepts connections, but no meter responds {framing};"
    " check METER_IDS, the A and B wires, baud rate and parity"
)


class Connection:
    """The connection to one gateway, made again whenever it is lost.

    `trouble` is None while the gateway answers, else a sentence about what is wrong.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.framing: Framing | None = None if gateway.framing == "auto" else gateway.framing
        self.trouble: str | None = None
        self.connects = 0
        most = max(meter.model.limit for meter in gateway.meters)
        self.longest_s = gateway.cost.request_ms(most) / 1000
        """Time that the longest request takes on the line."""
        self.timeout_s = max(gateway.timeout_s, self.longest_s + SLACK_S)
        self.transport = Transport(gateway.where, self.framing or "tcp", timeout_s=self.timeout_s)
        self._losses = 0
        self._lost_at_s = time.monotonic()
        self._attempted_s = self._connected_at_s = -math.inf
        self._silent_since_s: float | None = None
        self._ever_answered = self._answered_since_connect = self._is_well = False

    @property
    def connected(self) -> bool:
        """Whether there is a connection to send a request over."""
        return self.transport.connected

    @property
    def outage_s(self) -> float:
        """Seconds without an answer since the connection was lost; 0 if it is not."""
        return time.monotonic() - self._lost_at_s if self._losses else 0.0

    async def establish(self, units: Iterable[int]) -> bool:
        """Try once to connect, after a pause where the last attempts failed; False on failure.

        Where the framing is unknown, it is detected with requests to `units`.
        """
        if self._losses > 1:
            await asyncio.sleep(self._attempted_s + self.delay_s() - time.monotonic())
        self._attempted_s = time.monotonic()
        try:
            await self._connect()
            if self.framing is None and not await self._find_framing(units):
                raise GatewayError(NO_METER_ANSWERS.format(framing=IN_EITHER))
        except GatewayError as error:
            self.lost(error, report=True)
            return False
        return True

    def delay_s(self) -> float:
        """Return the seconds between two attempts: more after a longer outage."""
        since_s = self._lost_at_s if self._losses else self._silent_since_s or time.monotonic()
        longest_s = LONGEST_DELAY_S if self._losses else LONGEST_SILENCE_S
        share_s = (time.monotonic() - since_s) * DELAY_SHARE
        delay_s = min(max(share_s, SHORTEST_DELAY_S), longest_s)
        return delay_s * random.uniform(0.9, 1.1)

    async def renew(self, unit: int) -> None:
        """Replace a connection on which no meter responds with a new one, every five seconds.

        Where the settings leave the framing open it is found again: it may be another gateway.
        Raises GatewayError, and MeterTimeout where the unit answers in neither framing.
        """
        if time.monotonic() - self._connected_at_s < RENEW_S:
            return
        await self._connect()
        if self.gateway.framing == "auto" and not await self._find_framing([unit]):
            raise MeterTimeout(f"no response {IN_EITHER}")

    def read(
        self,
        unit: int,
        address: int,
        count: int,
        function: int = INPUT,
        *,
        patience_s: float | None = None,
        second: Second | None = None,
    ) -> Awaitable[bytes]:
        """Return registers of a unit; waits and raises as Transport.read does."""
        reading = self.transport.read(
            unit, address, count, function, patience_s=patience_s, second=second
        )
        return reading if self._is_well else self._watched(reading)

    async def _watched(self, reading: Awaitable[bytes]) -> bytes:
        """Read, and note the first answer after the start or after trouble."""
        answers, by_meter = self.transport.answers, True
        try:
            return await reading
        except MeterTimeout:
            by_meter = False
            raise
        finally:
            if self.transport.answers > answers:
                self._answered(by_meter=by_meter)

    def lost(self, error: GatewayError, *, report: bool = False) -> None:
        """Note that the connection is lost, or could not be made.

        The first two losses are not reported: many gateways close connections that are idle.
        """
        self.transport.close()
        self._is_well = False
        if not self._losses:
            self._lost_at_s = time.monotonic()
        self._losses += 1
        if report:
            self._report(str(error))
        elif self._losses > 2:
            self._report(str(error) if self._answered_since_connect else CLOSED_AT_ONCE)

    def fell_silent(self) -> None:
        """Record that no meter responds any more, though the connection is up."""
        self._silent_since_s = time.monotonic()
        self._report(NO_METER_ANSWERS.format(framing="any more"))

    def close(self) -> None:
        """Close the connection for good."""
        self.transport.close()

    def _report(self, trouble: str) -> None:
        """Log what is wrong with the gateway, once."""
        self._is_well = False
        if trouble != self.trouble:
            logger.warning("gateway %s: %s", self.gateway.address, trouble)
        self.trouble = trouble

    async def _connect(self, framing: Framing | None = None) -> None:
        self._answered_since_connect = self._is_well = False
        await self.transport.connect(framing)
        self._connected_at_s = time.monotonic()
        self.connects += 1

    async def _find_framing(self, units: Iterable[int]) -> bool:
        """Request a value of each unit in each framing; False if none responds."""
        for unit in units:
            first = self.transport.framing
            for framing in (first, other(first)):
                if framing != self.transport.framing:
                    await self._connect(framing)
                try:
                    await self.read(unit, 0, SMALLEST_READ)
                except (MeterTimeout, MeterFault):
                    if not self._answered_since_connect:
                        continue
                self.framing = framing
                return True
        return False

    def _answered(self, *, by_meter: bool) -> None:
        self._losses, self._answered_since_connect = 0, True
        if self._silent_since_s is not None and not by_meter:
            return  # the gateway itself reports that no meter answers
        if self.trouble is not None or not self._ever_answered:
            since_s = self._silent_since_s or self._lost_at_s
            away_s = time.monotonic() - since_s
            again = f" again after {away_s:.0f} s" if self._ever_answered else ""
            logger.info(
                "gateway %s: responds%s, %s",
                self.gateway.address,
                again,
                "RTU" if self.gateway.is_serial else FRAMING_NAMES[self.transport.framing],
            )
        self.trouble, self._silent_since_s = None, None
        self._ever_answered = self._is_well = True
