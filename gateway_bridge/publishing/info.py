"""Info: what the bridge publishes about a meter and a gateway, and to Home Assistant."""

from typing import Any

from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.meter.wiring import idle_phases, suspicions
from gateway_bridge.polling.poller import Line
from gateway_bridge.publishing.discovery import Announced
from gateway_bridge.settings import Scalars


def meter_info(meter: PolledMeter, bridge: str, gateway: str) -> dict[str, Any]:
    """Return the content of `meters/<id>/info`."""
    config = meter.config
    content = {
        "name": config.name,
        "role": config.role,
        "parent": config.parent,
        "billing": config.billing,
        "manufacturer": config.model.maker,
        "model": config.model.title,
        "serial": meter.state.serial or config.serial,
        "wiring": meter.wiring,
        "bridge": bridge,
        "gateway": gateway,
        "unit_id": config.unit,
        "interval": config.interval_s,
        "quantities": list(meter.registers),
        "blocks": _blocks(meter),
        "link": _link(meter),
        "wiring_check": _wiring_check(meter),
        "events": list(meter.state.events),
    }
    return {key: value for key, value in content.items() if value not in (None, [])}


def _blocks(meter: PolledMeter) -> list[dict[str, Any]]:
    """Return what is read at once from a meter, and every how many seconds."""
    config = meter.config
    return [
        {"address": block.address, "count": block.count, "interval": interval_s}
        for blocks, interval_s in (
            (meter.live, config.interval_s),
            (meter.slow, config.slow_interval_s),
        )
        for block in blocks
    ]


def _link(meter: PolledMeter) -> dict[str, int]:
    """Return how often a meter has responded and failed since the start of the bridge."""
    state = meter.state
    return {
        "readings": state.readings,
        "timeouts": state.timeouts,
        "faults": state.faults,
        "held": state.held,
    }


def _wiring_check(meter: PolledMeter) -> dict[str, Any] | None:
    """Return what the last values say about the wiring; None where they cannot tell."""
    values = meter.state.values
    if not {"reactive_power", "reactive_power_l1"} & values.keys():
        return None
    found = suspicions(values, wiring=meter.wiring)
    return {
        "suspicions": [{"text": each.text, "remedy": each.remedy} for each in found],
        "idle": idle_phases(values),
    }


def gateway_info(line: Line) -> dict[str, Any]:
    """Return what the bridge's info contains about a gateway."""
    connection = line.connection
    content = {
        "name": line.gateway.name,
        "address": line.gateway.address,
        "connected": connection.connected and connection.trouble is None,
        "framing": connection.framing,
        "requests": connection.transport.requests,
        "connects": connection.connects,
        "skipped": line.skipped,
        "trouble": connection.trouble,
        "shared": line.shared or None,
    }
    return {key: value for key, value in content.items() if value is not None}


def announced(meter: PolledMeter, scalars: Scalars) -> Announced:
    """Return a meter as Home Assistant shows it."""
    config = meter.config
    live = meter.live_names()
    return Announced(
        meter_id=config.meter_id,
        name=config.name,
        maker=config.model.maker,
        model=config.model.title,
        serial=meter.state.serial or config.serial,
        intervals_s={
            name: config.interval_s if name in live else config.slow_interval_s
            for name in meter.registers
        },
        scalars=scalars,
    )
