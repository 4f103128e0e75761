"""`doctor`: check the way to every meter and to the broker, and show each fault with its remedy."""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

from rich.text import Text

from gateway_bridge.commands import arguments
from gateway_bridge.commands.checks.broker import check_broker
from gateway_bridge.commands.checks.findings import Finding
from gateway_bridge.commands.checks.gateway import check_clients, check_speed
from gateway_bridge.commands.checks.line import Line, check_framing, check_network
from gateway_bridge.commands.checks.meter import check_meter
from gateway_bridge.commands.meter_read import read_meter
from gateway_bridge.meter.wiring import COUNTERS, counter_mismatch
from gateway_bridge.modbus.errors import GatewayError
from gateway_bridge.settings import BridgeSettings
from gateway_bridge.site.site import Gateway, Meter
from service.amounts import amount
from service.terminal import PlainTable, Screen

WATCH_S = 10.0
_PURPOSE = """\
Find what is wrong with the network, the gateway, the framing, the line, the
meters, their wiring or the broker, and show what to do about it.
Stop the bridge first: many gateways serve one client only."""
_STYLES = {"ok": "green", "warning": "bold yellow", "fault": "bold red"}


def main(words: Sequence[str]) -> int:
    """Run all checks and show the findings. Return 1 if there is a fault."""
    parser = arguments.line_parser("doctor", _PURPOSE)
    arguments.add_units(parser)
    arguments.add_model(parser)
    parser.add_argument("--no-broker", action="store_true", help="do not check the broker")
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        type=arguments.seconds,
        default=WATCH_S,
        help="time to compare the counters with the power (default: %(default)g)",
    )
    options = parser.parse_args(words)
    settings = BridgeSettings.load()
    gateways = arguments.gateways(options, settings)
    report = Report(Screen(as_json=options.json))
    for gateway in gateways:
        report.begin(gateway)
        asyncio.run(_check_gateway(gateway, report, options.watch))
    if not options.no_broker:
        report.begin(None)
        logging.disable()  # the findings report what the MQTT client would log
        report.add(check_broker(settings))
        logging.disable(logging.NOTSET)
    return report.end()


class Report:
    """The findings so far, each shown as soon as it is added."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self._findings: list[tuple[str | None, Finding]] = []
        self._gateway: str | None = None
        self._step_width = 10

    def begin(self, gateway: Gateway | None) -> None:
        """Begin the findings about a gateway, or (None) about the broker."""
        self._gateway = gateway.address if gateway else None
        if gateway:
            longest = max(len(f"meter {meter.meter_id}") for meter in gateway.meters)
            self._step_width = max(10, longest)
            self.screen.say(f"{gateway.name} at {gateway.address}", "bold")

    def add(self, findings: Iterable[Finding]) -> None:
        """Show findings and keep them."""
        for finding in findings:
            self._findings.append((self._gateway, finding))
            self._show(finding)

    def _show(self, finding: Finding) -> None:
        row = PlainTable.grid(padding=(0, 2))
        for width in (7, self._step_width, None):
            row.add_column(width=width, overflow="fold")
        row.add_row(Text(finding.level, _STYLES[finding.level]), finding.step, finding.text)
        if finding.remedy:
            row.add_row("", "", f"→ {finding.remedy}")
        self.screen.show(row)

    def end(self) -> int:
        """Show the number of faults and warnings; return the exit code."""
        levels = [finding.level for _, finding in self._findings]
        faults, warnings = levels.count("fault"), levels.count("warning")
        self.screen.say()
        style = "bold red" if faults else "bold yellow" if warnings else "bold green"
        found = amount(faults, "fault") if faults else "no faults"
        also = f", {amount(warnings, 'warning')}" if warnings else ""
        self.screen.say(f"{found}{also}", style)
        self.screen.outcome({
            "ok": not faults,
            "faults": faults,
            "warnings": warnings,
            "findings": [
                {"gateway": gateway} | asdict(finding) for gateway, finding in self._findings
            ],
        })  # fmt: skip
        return 1 if faults else 0


async def _check_gateway(gateway: Gateway, report: Report, watch_s: float) -> None:
    network = await check_network(gateway)
    report.add(network)
    if any(finding.level == "fault" for finding in network):
        return
    framing, line = await check_framing(gateway)
    report.add([framing])
    if line is None:
        return
    try:
        await _check_line(gateway, line, report, watch_s)
    except GatewayError as error:
        text = f"{gateway.address} {error}, during the checks"
        remedy = "check whether another client has taken over the connection"
        report.add([Finding("line", "fault", text, remedy)])
    finally:
        line.probe.close()


async def _check_line(gateway: Gateway, line: Line, report: Report, watch_s: float) -> None:
    if not gateway.is_serial:
        report.add([await check_clients(gateway, line)])
    report.add(await check_speed(gateway, line))
    sound = []
    for meter in gateway.meters:
        findings = await check_meter(gateway, line, meter)
        report.add(findings)
        if all(finding.level == "ok" for finding in findings):
            sound.append(meter)
    with report.screen.aside.status(f"comparing counters with power for {watch_s:g} s"):
        report.add(await _check_counters(gateway, line, sound, watch_s))


async def _check_counters(
    gateway: Gateway, line: Line, meters: Sequence[Meter], watch_s: float
) -> list[Finding]:
    """Read the power and the counters of the meters repeatedly, and compare them."""
    began_s = time.monotonic()
    samples: dict[str, list[tuple[float, dict[str, float]]]] = {m.meter_id: [] for m in meters}
    while meters and time.monotonic() - began_s < watch_s:
        for meter in meters:
            wanted = replace(meter, quantities=("power", *COUNTERS))
            done = await read_meter(line.probe, wanted, gateway)
            samples[meter.meter_id].append((time.monotonic(), done.values))
        await asyncio.sleep(0.1)
    findings = []
    for meter_id, taken in samples.items():
        powers = [values["power"] for _, values in taken if "power" in values]
        if len(powers) < 2:
            continue
        (first_s, first), (last_s, last) = taken[0], taken[-1]
        found = counter_mismatch(first, last, sum(powers) / len(powers), last_s - first_s)
        if found:
            findings.append(Finding(f"meter {meter_id}", "fault", found.text, found.remedy))
    return findings
