"""`doctor`: from here to every meter and to the broker, step by step: what is wrong, what to do."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from rich.table import Table

from gateway_bridge.commands import arguments
from gateway_bridge.commands.checks.broker import check_broker
from gateway_bridge.commands.checks.line import Line, check_line
from gateway_bridge.commands.checks.meter import check_meter
from gateway_bridge.commands.checks.pace import check_clients, check_pace
from gateway_bridge.commands.counting import COUNTERS, against_counters
from gateway_bridge.commands.findings import Finding, Tell
from gateway_bridge.commands.lines import MeterRead, read_meter
from gateway_bridge.modbus.errors import GatewayError
from gateway_bridge.settings import BridgeSettings
from gateway_bridge.site.site import Gateway, Meter
from service.terminal import Screen

WATCH_S = 10.0
_PURPOSE = (
    "Look for what is wrong on the way network, gateway, framing, line, meters, broker, and in the"
    " wiring of the meters. Stop the bridge before: many gateways serve one client only."
)
_STYLES = {"ok": "green", "look": "bold yellow", "fault": "bold red"}


def main(words: Sequence[str]) -> int:
    """Tell what is found; 1 where something is wrong."""
    parser = arguments.parser("doctor", _PURPOSE)
    arguments.add_units(parser, None)
    arguments.add_model(parser)
    parser.add_argument("--no-broker", action="store_true", help="leave the broker out")
    parser.add_argument(
        "--watch",
        type=arguments.seconds,
        default=WATCH_S,
        help="how long to compare counters with power, in seconds (%(default)s)",
    )
    options = parser.parse_args(words)
    settings = BridgeSettings.load()
    gateways = arguments.gateways(options, settings)
    told = Told(Screen(as_json=options.json))
    for gateway in gateways:
        told.begin(gateway)
        asyncio.run(_examine(gateway, told, options.watch))
    if not options.no_broker:
        told.begin(None)
        logging.disable()  # what the broker's client would log, the doctor says itself
        check_broker(settings, told.tell)
        logging.disable(logging.NOTSET)
    return told.end()


@dataclass(slots=True)
class Told:
    """What has been told, as it was told."""

    screen: Screen
    findings: list[tuple[str | None, Finding]] = field(default_factory=list)
    where: str | None = None

    def begin(self, gateway: Gateway | None) -> None:
        """Say what is looked at now."""
        self.where = gateway.address if gateway else None
        if gateway:
            self.screen.say(f"{gateway.name} at {gateway.address}", "bold")

    def tell(self, finding: Finding) -> None:
        """Say what was found, and what to do."""
        self.findings.append((self.where, finding))
        row = Table.grid(padding=(0, 2))
        for width in (5, 10, None):
            row.add_column(width=width, overflow="fold")
        style = _STYLES[finding.level]
        row.add_row(f"[{style}]{finding.level}[/]", finding.step, _plain(finding.text))
        if finding.remedy:
            row.add_row("", "", f"→ {_plain(finding.remedy)}")
        self.screen.show(row)

    def end(self) -> int:
        """Sum up; return the exit code."""
        levels = [finding.level for _, finding in self.findings]
        faults, looks = levels.count("fault"), levels.count("look")
        self.screen.say()
        found = "no fault" if not faults else "1 fault" if faults == 1 else f"{faults} faults"
        also = f", {looks} worth a look" if looks else ""
        style = "bold red" if faults else "bold yellow" if looks else "bold green"
        self.screen.say(f"{found}{also}", style)
        self.screen.outcome(
            {
                "ok": not faults,
                "findings": [
                    {"gateway": where} | asdict(finding) for where, finding in self.findings
                ],
            }
        )
        return 1 if faults else 0


async def _examine(gateway: Gateway, told: Told, watch_s: float) -> None:
    tell = told.tell
    line = await check_line(gateway, tell)
    if line is None:
        return
    fit: list[tuple[Meter, MeterRead]] = []
    try:
        if not gateway.serial:
            await check_clients(gateway, line, tell)
        await check_pace(gateway, line, tell)
        for meter in gateway.meters:
            said = await check_meter(gateway, line, meter, tell)
            if said is not None:
                fit.append((meter, said))
        with told.screen.aside.status(f"comparing counters with power for {watch_s:g} s"):
            await _watch(gateway, line, fit, tell, watch_s)
    except GatewayError as error:
        text = f"{gateway.address} {error}, in the middle of it"
        tell(Finding("line", "fault", text, "another client may have taken the connection over"))
    finally:
        line.probe.close()


async def _watch(
    gateway: Gateway, line: Line, fit: list[tuple[Meter, MeterRead]], tell: Tell, watch_s: float
) -> None:
    """Read power and counters again and again, and compare the two."""
    began_s = time.monotonic()
    samples: dict[str, list[tuple[float, dict[str, float]]]] = {m.meter_id: [] for m, _ in fit}
    while fit and time.monotonic() - began_s < watch_s:
        for meter, _ in fit:
            asked = replace(meter, quantities=("power", *COUNTERS))
            said = await read_meter(line.probe, asked, gateway)
            samples[meter.meter_id].append((time.monotonic(), said.values))
        await asyncio.sleep(0.1)
    for meter_id, taken in samples.items():
        powers = [values["power"] for _, values in taken if "power" in values]
        if len(powers) < 2:
            continue
        (first_s, first), (last_s, last) = taken[0], taken[-1]
        found = against_counters(first, last, sum(powers) / len(powers), last_s - first_s)
        if found:
            tell(Finding(f"meter {meter_id}", "fault", found.text, found.remedy))


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
