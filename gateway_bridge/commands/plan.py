"""`plan`: what will be asked for, how long that takes, and whether the interval can be kept.

Nothing is asked: it is what follows from the settings, before anything is started.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from contract.quantities import CORE_SET
from gateway_bridge.address import BAUDS
from gateway_bridge.bridge import FULL
from gateway_bridge.commands import arguments
from gateway_bridge.meter.plan import Block
from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.settings import BridgeSettings
from gateway_bridge.site.site import Gateway
from service.terminal import Screen, table

FASTEST_METER = 38_400
_PURPOSE = "Show the requests, their time on the line, and whether the interval can be kept."


def main(words: Sequence[str]) -> int:
    """Show the plan of every line; 1 where one cannot keep its interval."""
    parser = arguments.parser("plan", _PURPOSE)
    arguments.add_units(parser, None)
    arguments.add_model(parser)
    options = parser.parse_args(words)
    gateways = arguments.gateways(options, BridgeSettings.load())
    screen = Screen(as_json=options.json)
    plans = [LinePlan(gateway) for gateway in gateways]
    for plan in plans:
        plan.tell(screen)
    screen.outcome({"gateways": [plan.facts() for plan in plans]})
    return 0 if all(plan.share <= 1 for plan in plans) else 1


class LinePlan:
    """What one line will have to carry."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.meters = _planned(gateway, gateway.cost)
        self.share = sum(meter.busy_share() for meter in self.meters)
        self.round_s = sum(gateway.cost.total_ms(meter.live) for meter in self.meters) / 1000

    def tell(self, screen: Screen) -> None:
        """Show the blocks in a table, and what follows from them in words."""
        gateway = self.gateway
        shown = table(
            "meter", "model", "each", "registers", ">count", ">values", ">ms",
            title=f"{gateway.name} at {gateway.address}, {gateway.cost.baud} baud",
        )  # fmt: skip
        for meter in self.meters:
            for block, interval_s in _blocks(meter):
                shown.add_row(
                    f"{meter.meter.meter_id}",
                    meter.meter.model.title,
                    f"{interval_s:g} s",
                    f"{block.address} to {block.end - 1}",
                    f"{block.count}",
                    f"{len(_names(meter, block))}",
                    f"{gateway.cost.request_ms(block.count):.0f}",
                )
        screen.show(shown)
        for line in self._words():
            screen.say(line, "bold red" if self.share > 1 else "")
        screen.say()

    def facts(self) -> dict[str, Any]:
        """Return the plan for a script."""
        return {
            "name": self.gateway.name,
            "address": self.gateway.address,
            "baud": self.gateway.cost.baud,
            "round_s": round(self.round_s, 3),
            "share": round(self.share, 4),
            "keeps_interval": self.share <= 1,
            "meters": [self._meter_facts(meter) for meter in self.meters],
        }

    def _meter_facts(self, meter: PolledMeter) -> dict[str, Any]:
        cost = self.gateway.cost
        return {
            "meter_id": meter.meter.meter_id,
            "unit": meter.meter.unit,
            "model": meter.meter.model.name,
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

    def _words(self) -> list[str]:
        count = len(self.meters)
        meters = "one meter" if count == 1 else f"{count} meters"
        intervals = sorted({meter.meter.interval_s for meter in self.meters})
        each = " or ".join(f"{interval_s:g} s" for interval_s in intervals)
        words = [
            f"A round of {meters} takes {self.round_s:.2f} s, to be done each {each};"
            f" with all the rest the line is busy {100 * self.share:.0f} % of the time."
        ]
        if self.share <= FULL:
            return [*words, "The interval can be kept."]
        if self.share <= 1:
            words.append("The interval can just be kept; a second try or a dead meter costs ticks.")
        else:
            words.append("The interval cannot be kept: the meters will be read in turn, without a")
            words[-1] += f" pause, each about every {self._real_interval_s():.1f} s."
        return words + self._remedies()

    def _real_interval_s(self) -> float:
        return self.share * min(meter.meter.interval_s for meter in self.meters)

    def _remedies(self) -> list[str]:
        """Say what would give the line room."""
        longer_s = max(meter.meter.interval_s for meter in self.meters) * self.share / FULL
        remedies = [f"It has room with: an interval of {longer_s:.1f} s"]
        for baud in BAUDS:
            if not self.gateway.cost.baud < baud <= FASTEST_METER:
                continue
            cost = replace(self.gateway.cost, baud=baud)
            if sum(meter.busy_share() for meter in _planned(self.gateway, cost)) <= FULL:
                remedies.append(f"{baud} baud on the gateway and every meter")
                break
        if self._share_of(CORE_SET) <= FULL:
            remedies.append("fewer quantities (QUANTITIES=core)")
        remedies.append("a second gateway for some of the meters")
        return [", or ".join(remedies) + "."]

    def _share_of(self, quantities: tuple[str, ...]) -> float:
        meters = tuple(replace(meter, quantities=quantities) for meter in self.gateway.meters)
        planned = _planned(replace(self.gateway, meters=meters), self.gateway.cost)
        return sum(meter.busy_share() for meter in planned)


def _planned(gateway: Gateway, cost: LineCost) -> list[PolledMeter]:
    return [PolledMeter(meter, cost) for meter in gateway.meters]


def _blocks(meter: PolledMeter) -> list[tuple[Block, float]]:
    """Return each block of a meter and how often it is asked for, in seconds."""
    config = meter.meter
    live = [(block, config.interval_s) for block in meter.live]
    return live + [(block, config.slow_interval_s) for block in meter.slow]


def _names(meter: PolledMeter, block: Block) -> list[str]:
    return [name for name, register in meter.registers.items() if block.holds(register)]
