"""`scan`: find the meters on a line by a request to each unit id, in each possible framing."""

import argparse
import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.progress import Progress, TaskID

from gateway_bridge.commands import arguments
from gateway_bridge.commands.meter_read import reported_model
from gateway_bridge.commands.probe import (
    RUN_DOCTOR,
    Outcome,
    Probe,
    framing_name,
    framings,
)
from gateway_bridge.meter.identity import identify
from gateway_bridge.meter.plan import Block
from gateway_bridge.meter.state import Layout
from gateway_bridge.modbus.connection import CLOSED_AT_ONCE
from gateway_bridge.modbus.errors import GatewayError, MeterFault, MeterTimeout
from gateway_bridge.modbus.frames import SMALLEST_READ, Framing
from gateway_bridge.models import MODELS, MeterModel
from gateway_bridge.settings import HIGHEST_UNIT, BridgeSettings
from gateway_bridge.site.site import Gateway
from service.terminal import Screen, table

TIMEOUT_S = 1.0
"""Timeout of a unit id until the gateway's own timeout is known; a faster scan would fill the
gateway's queue with requests to absent meters."""
LONGEST_S = 3.0
SLACK_S = 0.15
GROUP = 10
"""Number of unit ids to request in one framing before the other is tried."""
_SILENT = 0
"""Fault code of a request to which a meter is silent; no exception has it."""
_PURPOSE = """\
Find the meters on a line: request each unit id in Modbus TCP and in RTU over TCP.
Stop the bridge first: many gateways serve one client only. Each unit id without
a meter takes as long as the gateway itself waits for it; Ctrl-C shows what has
been found until then."""


def main(words: Sequence[str]) -> int:
    """Scan the lines and show the meters. Return 1 if a line has none."""
    parser = arguments.line_parser("scan", _PURPOSE)
    parser.add_argument(
        "--units",
        metavar="IDS",
        type=arguments.unit_ids,
        default=f"1-{HIGHEST_UNIT}",
        help="unit ids to request, for example 1,2,5-9 (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=arguments.seconds,
        help=f"timeout of each request (default: {TIMEOUT_S:g}, less once the gateway's is known)",
    )
    options = parser.parse_args(words)
    gateways = arguments.gateways(options, BridgeSettings.load())
    screen = Screen(as_json=options.json)
    scans = [_scan(gateway, options, screen) for gateway in gateways]
    screen.outcome({"gateways": [scan.to_dict() for scan in scans]})
    return 0 if all(scan.found for scan in scans) else 1


def _scan(gateway: Gateway, options: argparse.Namespace, screen: Screen) -> "Scan":
    scan = Scan(gateway, options.units, options.timeout, screen)
    try:
        asyncio.run(scan.run())
    except KeyboardInterrupt:
        screen.say(f"Stopped after unit {scan.reached}; meters found so far:")
        scan.show()
        raise
    scan.show()
    return scan


@dataclass(frozen=True, slots=True)
class Found:
    """A meter that responded, and what it reports about itself."""

    unit: int
    framing: Framing
    took_s: float
    serial: str | None = None
    model: str | None = None
    code: int | None = None
    wiring: str | None = None
    volts: float | None = None
    low_word_first: bool = False

    @property
    def title(self) -> str:
        """The model as shown to people."""
        if self.model:
            return MODELS[self.model].title if self.model in MODELS else self.model
        return "not reported" if self.code is None else f"unknown (code 0x{self.code:04X})"

    def to_dict(self) -> dict[str, Any]:
        """Return the meter for a script."""
        return {
            "unit": self.unit,
            "framing": self.framing,
            "model": self.model,
            "model_code": self.code,
            "serial": self.serial,
            "wiring": self.wiring,
            "low_word_first": self.low_word_first,
            "voltage_l1": None if self.volts is None else round(self.volts, 1),
            "response_ms": round(1000 * self.took_s, 1),
        }


class Scan:
    """The search on one line."""

    def __init__(
        self, gateway: Gateway, units: Sequence[int], timeout_s: float | None, screen: Screen
    ) -> None:
        self.gateway = gateway
        self.found: list[Found] = []
        self.reached = 0
        self._units = units
        self._timeout_s = timeout_s or TIMEOUT_S
        self._measured = timeout_s is not None
        self._screen = screen
        self._framings = framings(gateway)
        self._probe: Probe | None = None
        self._late: set[int] = set()
        self._closed: set[Framing] = set()

    async def run(self) -> None:
        """Request every unit id. Raises GatewayError if the gateway cannot be reached."""
        with self._screen.progress_bar() as bar:
            task = bar.add_task("", total=len(self._units))
            try:
                for start in range(0, len(self._units), GROUP):
                    group = self._units[start : start + GROUP]
                    for framing in self._framings:
                        await self._request_all(framing, group, bar, task)
                if self._probe:
                    late = sorted(self._late_units())
                    await self._request_all(self._probe.framing, late, bar, task)
            finally:
                if self._probe:
                    self._probe.close()

    def show(self) -> None:
        """Show the meters that were found."""
        if not self.found:
            units = _span(self._units)
            self._screen.say(
                f"{self.gateway.address}: no meter responds at unit id {units}; {RUN_DOCTOR}",
                "bold red",
            )
            return
        framing = framing_name(self.gateway, self.found[0].framing)
        shown = table(
            ">unit", "model", "serial number", "wiring", ">L1", ">response",
            title=f"{self.gateway.address} uses {framing}",
        )  # fmt: skip
        for meter in self._by_unit():
            shown.add_row(
                f"{meter.unit}",
                meter.title,
                meter.serial or "not reported",
                (meter.wiring or "") + (", low word first" if meter.low_word_first else ""),
                "" if meter.volts is None else f"{meter.volts:.1f} V",
                f"{1000 * meter.took_s:.0f} ms",
            )
        self._screen.show(shown)

    def to_dict(self) -> dict[str, Any]:
        """Return the line and its meters for a script."""
        return {
            "name": self.gateway.name,
            "address": self.gateway.address,
            "framing": self.found[0].framing if self.found else None,
            "meters": [meter.to_dict() for meter in self._by_unit()],
        }

    def _by_unit(self) -> list[Found]:
        return sorted(self.found, key=lambda meter: meter.unit)

    async def _request_all(
        self, framing: Framing, units: Sequence[int], bar: Progress, task: TaskID
    ) -> None:
        for unit in units:
            if framing not in self._framings:
                return
            self.reached, found = unit, len(self.found)
            bar.update(task, description=f"{self.gateway.address}: unit {unit}, {found} found")
            await self._request(unit, await self._opened(framing))
            bar.advance(task, 1 / len(self._framings))

    async def _request(self, unit: int, probe: Probe) -> None:
        response = await probe.request(unit, 0, SMALLEST_READ)
        if response.outcome is Outcome.CLOSED:
            await probe.open()
            response = await probe.request(unit, 0, SMALLEST_READ)
        if response.outcome is Outcome.CLOSED and not self.found:
            self._closed.add(probe.framing)
            if self._closed.issuperset(self._framings):
                raise GatewayError(f"{self.gateway.address}: {CLOSED_AT_ONCE}")
        if response.from_meter or response.outcome is Outcome.EXCEPTION:
            self._framings = (probe.framing,)
        if response.from_meter:
            self.found.append(await _identified(probe, unit, response.took_s, response.data))
        elif response.outcome is Outcome.SILENCE and self.found and not self._measured:
            await self._measure_timeout(probe, unit)

    async def _measure_timeout(self, probe: Probe, absent: int) -> None:
        """Measure how long the gateway waits for an absent unit, and use that as timeout.

        A request to a known meter, sent right after one to an absent unit, is answered as soon as
        the gateway stops waiting for the absent one.
        """
        known = min(self.found, key=lambda meter: meter.took_s)
        probe.timeout_s = known.took_s + SLACK_S
        await probe.request(absent, 0, SMALLEST_READ)
        probe.timeout_s = LONGEST_S
        behind = await probe.request(known.unit, 0, SMALLEST_READ)
        if behind.from_meter:
            waited_s = known.took_s + SLACK_S + max(0.0, behind.took_s - known.took_s)
            self._timeout_s = waited_s + SLACK_S / 2
        self._measured = True
        probe.timeout_s = self._timeout_s

    async def _opened(self, framing: Framing) -> Probe:
        """Return the only connection, in this framing: many gateways serve one client."""
        if self._probe is None or self._probe.framing != framing:
            if self._probe:
                self._probe.close()
                self._late |= self._probe.other_units
            self._probe = Probe(self.gateway.where, framing, timeout_s=self._timeout_s)
            try:
                await self._probe.open()
            except GatewayError as error:
                raise GatewayError(f"{self.gateway.address}: {error}") from error
        return self._probe

    def _late_units(self) -> set[int]:
        """Return the wanted units that responded after their timeout."""
        late = self._late | (self._probe.other_units if self._probe else set())
        return (late & set(self._units)) - {meter.unit for meter in self.found}


async def _identified(probe: Probe, unit: int, took_s: float, first: bytes) -> Found:
    """Return a meter with what it reports about itself; `first` are its first registers.

    A meter without a known code is identified like an SDM630.
    """

    async def read(address: int, count: int, function: int) -> bytes:
        try:
            return await probe.read(unit, address, count, function)
        except (MeterFault, MeterTimeout) as error:
            raise MeterFault(str(error), _SILENT) from error

    name, code = await reported_model(probe, unit)
    model = MODELS.get(name or "", MODELS["sdm630"])
    identity = await identify(model, read)
    return Found(
        unit=unit,
        framing=probe.framing,
        took_s=took_s,
        serial=identity.serial,
        model=name,
        code=code,
        wiring=identity.wiring,
        volts=_volts(model, first, low_word_first=identity.low_word_first),
        low_word_first=identity.low_word_first,
    )


def _volts(model: MeterModel, first: bytes, *, low_word_first: bool) -> float | None:
    layout = Layout(Block(0, SMALLEST_READ), {"volts": model.probe})
    return layout.decode(first, low_word_first=low_word_first).get("volts") if first else None


def _span(units: Iterable[int]) -> str:
    units = list(units)
    whole = units == list(range(units[0], units[-1] + 1))
    return f"{units[0]} to {units[-1]}" if whole and len(units) > 2 else ", ".join(map(str, units))
