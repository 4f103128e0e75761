"""`plan`: the requests that the settings lead to, their time, and whether the interval can be kept.

The command sends no request.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from contract.quantities import CORE_SET
from gateway_bridge import capacity
from gateway_bridge.address import BAUDS
from gateway_bridge.bridge import FULL
from gateway_bridge.commands import arguments
from gateway_bridge.meter.plan import Block
from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.settings import BridgeSettings
from gateway_bridge.site.site import Gateway
from service.terminal import Screen, table

FASTEST_METER_BAUD = 38_400
_PURPOSE = """\
Show the requests that the settings lead to, their time on the line, and whether
the interval can be kept. Nothing is sent."""


def main(words: Sequence[str]) -> int:
    """Show the plan of every line. Return 1 if a line cannot keep its interval."""
    parser = arguments.line_parser("plan", _PURPOSE)
    arguments.add_units(parser)
    arguments.add_model(parser)
    options = parser.parse_args(words)
    settings = BridgeSettings.load()
    gateways = arguments.gateways(options, settings)
    screen = Screen(as_json=options.json)
    plans = [LinePlan(gateway) for gateway in gateways]
    for plan in plans:
        plan.show(screen)
    rate = capacity.readings_per_s(gateways)
    share = capacity.core_share(rate, capacity.scalars_of(settings, rate), capacity.slowness())
    screen.say(f"For the bridge, {capacity.load_text(rate, share)}.")
    bridge = {"readings_per_s": round(rate, 3), "core_share": round(share, 4)}
    screen.outcome({"gateways": [plan.to_dict() for plan in plans], "bridge": bridge})
    return 0 if all(plan.share <= 1 for plan in plans) else 1


class LinePlan:
    """The requests of one line and the time that they take."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.meters = _planned(gateway, gateway.cost)
        self.share = sum(meter.busy_share() for meter in self.meters)
        self.round_s = sum(gateway.cost.total_ms(meter.live) for meter in self.meters) / 1000

    def show(self, screen: Screen) -> None:
        """Show the blocks in a table, and whether the line has time for them."""
        gateway = self.gateway
        shown = table(
            "meter", "model", "every", "registers", ">count", ">values", ">ms",
            title=f"{gateway.name} at {gateway.address}, {gateway.cost.baud} baud",
        )  # fmt: skip
        for meter in self.meters:
            for block, interval_s in _blocks(meter):
                shown.add_row(
                    f"{meter.config.meter_id}",
                    meter.config.model.title,
                    f"{interval_s:g} s",
                    f"{block.address} to {block.end - 1}",
                    f"{block.count}",
                    f"{len(_names(meter, block))}",
                    f"{gateway.cost.request_ms(block.count):.0f}",
                )
        screen.show(shown)
        for line in self._summary():
            screen.say(line, "bold red" if self.share > 1 else "")
        screen.say()

    def to_dict(self) -> dict[str, Any]:
        """Return the plan for a script."""
        return {
            "name": self.gateway.name,
            "address": self.gateway.address,
            "baud": self.gateway.cost.baud,
            "round_s": round(self.round_s, 3),
            "share": round(self.share, 4),
            "keeps_interval": self.share <= 1,
            "remedies": self.remedies(),
            "meters": [self._meter_dict(meter) for meter in self.meters],
        }

    def _meter_dict(self, meter: PolledMeter) -> dict[str, Any]:
        cost = self.gateway.cost
        return {
            "meter_id": meter.config.meter_id,
            "unit": meter.config.unit,
            "model": meter.config.model.name,
            "live_ms": round(cost.total_ms(meter.live), 1),
            "blocks": [
                {
                    "address": block.address,
                    "count": block.count,
                    "interval": interval_s,
                    "ms": round(cost.request_ms(block.count), 1),
                    "quantities": _names(meter, block),
                }
                for block, interval_s in _blocks(meter)
            ],
        }

    def _summary(self) -> list[str]:
        count = len(self.meters)
        meters = "one meter" if count == 1 else f"{count} meters"
        intervals = sorted({meter.config.interval_s for meter in self.meters})
        every = " or ".join(f"{interval_s:g} s" for interval_s in intervals)
        lines = [
            f"Reading {meters} takes {self.round_s:.2f} s, every {every};"
            f" with the slow quantities, the line is busy {100 * self.share:.0f} % of the time."
        ]
        if self.share <= FULL:
            return [*lines, "The interval can be kept."]
        if self.share <= 1:
            lines.append(
                "The interval can be kept, but without a margin: a retry or a silent meter delays"
                " the next readings."
            )
        else:
            lines.append(
                "The interval cannot be kept: the meters are read in turn without a pause, each"
                f" about every {self._real_interval_s():.1f} s."
            )
        return [*lines, f"To make room, use {', or '.join(self.remedies())}."]

    def _real_interval_s(self) -> float:
        return self.share * min(meter.config.interval_s for meter in self.meters)

    def remedies(self) -> list[str]:
        """Return changes that each give the line enough time; none if it has enough."""
        if self.share <= FULL:
            return []
        longer_s = max(meter.config.interval_s for meter in self.meters) * self.share / FULL
        remedies = [f"an interval of {longer_s:.1f} s"]
        for baud in BAUDS:
            if not self.gateway.cost.baud < baud <= FASTEST_METER_BAUD:
                continue
            cost = replace(self.gateway.cost, baud=baud)
            if sum(meter.busy_share() for meter in _planned(self.gateway, cost)) <= FULL:
                remedies.append(f"{baud} baud on the gateway and every meter")
                break
        if self._share_of(CORE_SET) <= FULL:
            remedies.append("fewer quantities (QUANTITIES=core)")
        return [*remedies, "a second gateway for some of the meters"]

    def _share_of(self, quantities: tuple[str, ...]) -> float:
        meters = tuple(replace(meter, quantities=quantities) for meter in self.gateway.meters)
        planned = _planned(replace(self.gateway, meters=meters), self.gateway.cost)
        return sum(meter.busy_share() for meter in planned)


def _planned(gateway: Gateway, cost: LineCost) -> list[PolledMeter]:
    return [PolledMeter(meter, cost) for meter in gateway.meters]


def _blocks(meter: PolledMeter) -> list[tuple[Block, float]]:
    """Return each block of a meter with its interval in seconds."""
    config = meter.config
    live = [(block, config.interval_s) for block in meter.live]
    return live + [(block, config.slow_interval_s) for block in meter.slow]


def _names(meter: PolledMeter, block: Block) -> list[str]:
    return [name for name, register in meter.registers.items() if block.holds(register)]
