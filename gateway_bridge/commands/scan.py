"""`scan`: which meters are on a line: each unit id is asked once, in the likely framings."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from rich.progress import Progress, TaskID

from gateway_bridge.commands import arguments
from gateway_bridge.commands.introduction import Found, introduced
from gateway_bridge.commands.lines import DOCTOR, framings
from gateway_bridge.commands.probe import Outcome, Probe
from gateway_bridge.meter.plan import SMALLEST_READ
from gateway_bridge.modbus.connection import CLOSED_AT_ONCE, FRAMING_NAMES
from gateway_bridge.modbus.errors import GatewayError
from gateway_bridge.modbus.transport import Framing
from gateway_bridge.models import MODELS
from gateway_bridge.settings import HIGHEST_UNIT, BridgeSettings
from gateway_bridge.site.site import Gateway
from service.terminal import Screen, table

PATIENCE_S = 1.0
"""What to wait for a unit while it is not known how long the gateway itself waits: asked faster,
it would queue up what nobody answers."""
LONGEST_S = 3.0
SLACK_S = 0.15
TOGETHER = 10
"""So many units are asked in one framing before the other is tried."""
_PURPOSE = (
    "Look for meters: ask each unit id in Modbus TCP and in RTU over TCP. Stop the bridge before:"
    " many gateways serve one client only. Each unit id without a meter takes the gateway's own"
    " waiting time."
)


def main(words: Sequence[str]) -> int:
    """Look for meters and show them; 1 where there are none."""
    parser = arguments.parser("scan", _PURPOSE)
    arguments.add_units(parser, f"1-{HIGHEST_UNIT}")
    parser.add_argument(
        "--timeout",
        type=arguments.seconds,
        help=f"how long to wait for each, in seconds (at most {PATIENCE_S:g}, less where it can)",
    )
    options = parser.parse_args(words)
    gateways = arguments.gateways(options, BridgeSettings.load())
    screen = Screen(as_json=options.json)
    found = [_scanned(gateway, options, screen) for gateway in gateways]
    screen.outcome({"gateways": [facts for facts, _ in found]})
    return 0 if all(meters for _, meters in found) else 1


def _scanned(
    gateway: Gateway, options: Any, screen: Screen
) -> tuple[dict[str, Any], tuple[Found, ...]]:
    scan = Scan(gateway, options.units, options.timeout, screen)
    try:
        asyncio.run(scan.run())
    except KeyboardInterrupt:
        screen.say(f"Stopped after unit {scan.reached}; found until then:")
        scan.tell()
        raise
    scan.tell()
    facts = {"address": gateway.address, "meters": [_facts(meter) for meter in scan.found]}
    return facts, tuple(scan.found)


class Scan:
    """A search on one line."""

    def __init__(
        self, gateway: Gateway, units: Sequence[int], timeout_s: float | None, screen: Screen
    ) -> None:
        self.gateway = gateway
        self.found: list[Found] = []
        self.reached = 0
        self._units = units
        self._timeout_s = timeout_s or PATIENCE_S
        self._measured = timeout_s is not None
        self._screen = screen
        self._framings = framings(gateway)
        self._probe: Probe | None = None
        self._late: set[int] = set()
        self._closed: set[Framing] = set()

    async def run(self) -> None:
        """Ask every unit. Raises GatewayError where there is no way to the gateway."""
        with self._screen.progress_bar() as bar:
            task = bar.add_task("", total=len(self._units))
            try:
                for start in range(0, len(self._units), TOGETHER):
                    group = self._units[start : start + TOGETHER]
                    for framing in self._framings:
                        await self._ask_all(framing, group, bar, task)
                if self._probe:
                    await self._ask_all(self._probe.framing, sorted(self._overheard()), bar, task)
            finally:
                if self._probe:
                    self._probe.close()

    def tell(self) -> None:
        """Show what was found."""
        if not self.found:
            self._screen.say(
                f"{self.gateway.address}: no meter answers on unit {_span(self._units)}; {DOCTOR}.",
                "bold red",
            )
            return
        framing = "RTU" if self.gateway.serial else FRAMING_NAMES[self.found[0].framing]
        shown = table(
            ">unit", "model", "serial number", "wiring", ">L1", ">answers in",
            title=f"{self.gateway.address} speaks {framing}",
        )  # fmt: skip
        for meter in sorted(self.found, key=lambda meter: meter.unit):
            shown.add_row(
                f"{meter.unit}",
                _model_in_words(meter),
                meter.serial or "does not say",
                (meter.wiring or "") + (", low word first" if meter.low_word_first else ""),
                "" if meter.volts is None else f"{meter.volts:.1f} V",
                f"{1000 * meter.took_s:.0f} ms",
            )
        self._screen.show(shown)

    async def _ask_all(
        self, framing: Framing, units: Sequence[int], bar: Progress, task: TaskID
    ) -> None:
        for unit in units:
            if framing not in self._framings:
                return
            self.reached = unit
            bar.update(task, description=f"{self.gateway.address}: unit {unit}")
            await self._look_for(unit, await self._opened(framing))
            bar.advance(task, 1 / len(self._framings))

    async def _look_for(self, unit: int, probe: Probe) -> None:
        heard = await probe.ask(unit, 0, SMALLEST_READ)
        if heard.outcome is Outcome.CLOSED:
            await probe.open()
            heard = await probe.ask(unit, 0, SMALLEST_READ)
        if heard.outcome is Outcome.CLOSED and not self.found:
            self._closed.add(probe.framing)
            if self._closed.issuperset(self._framings):
                raise GatewayError(f"{self.gateway.address}: {CLOSED_AT_ONCE}")
        if heard.of_a_meter or heard.outcome is Outcome.EXCEPTION:
            self._framings = (probe.framing,)
        if heard.of_a_meter:
            self.found.append(await introduced(probe, unit, heard.took_s, heard.data))
        elif heard.outcome is Outcome.SILENCE and self.found and not self._measured:
            await self._measure(probe, unit)

    async def _measure(self, probe: Probe, absent: int) -> None:
        """Find out how long the gateway waits for a unit that is not there, to ask no slower.

        A known meter that is asked right behind it answers when the gateway has given up.
        """
        known = min(self.found, key=lambda meter: meter.took_s)
        probe.timeout_s = known.took_s + SLACK_S
        await probe.ask(absent, 0, SMALLEST_READ)
        probe.timeout_s = LONGEST_S
        behind = await probe.ask(known.unit, 0, SMALLEST_READ)
        if behind.of_a_meter:
            waited_s = known.took_s + SLACK_S + max(0.0, behind.took_s - known.took_s)
            self._timeout_s = waited_s + SLACK_S / 2
        self._measured = True
        probe.timeout_s = self._timeout_s

    async def _opened(self, framing: Framing) -> Probe:
        """Return the connection in this framing; one at a time, many gateways serve no more."""
        if self._probe is None or self._probe.framing != framing:
            if self._probe:
                self._probe.close()
                self._late |= self._probe.others
            self._probe = Probe(self.gateway.where, framing, timeout_s=self._timeout_s)
            try:
                await self._probe.open()
            except GatewayError as error:
                raise GatewayError(f"{self.gateway.address}: {error}") from error
        return self._probe

    def _overheard(self) -> set[int]:
        """Return the wanted units that answered so late that another one was asked already."""
        heard = self._late | (self._probe.others if self._probe else set())
        return (heard & set(self._units)) - {meter.unit for meter in self.found}


def _model_in_words(meter: Found) -> str:
    if meter.model:
        return MODELS[meter.model].title if meter.model in MODELS else meter.model
    return "does not say" if meter.code is None else f"unknown (code 0x{meter.code:04X})"


def _span(units: Iterable[int]) -> str:
    units = list(units)
    whole = units == list(range(units[0], units[-1] + 1))
    return f"{units[0]} to {units[-1]}" if whole and len(units) > 2 else ", ".join(map(str, units))


def _facts(meter: Found) -> dict[str, Any]:
    facts = {
        "unit": meter.unit,
        "framing": meter.framing,
        "model": meter.model,
        "serial": meter.serial,
        "wiring": meter.wiring,
        "low_word_first": meter.low_word_first,
        "answers_in_ms": round(1000 * meter.took_s, 1),
    }
    return {key: value for key, value in facts.items() if value is not None}
