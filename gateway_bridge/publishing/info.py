"""What the bridge says of a meter and of a gateway: their info, and the name at Home Assistant."""

from typing import Any

from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.polling.poller import GatewayPoller
from gateway_bridge.publishing.discovery import Announced


def meter_info(meter: PolledMeter, bridge: str) -> dict[str, Any]:
    """Return what `meters/<id>/info` says."""
    config = meter.meter
    said = {
        "name": config.name,
        "manufacturer": config.model.maker,
        "model": config.model.title,
        "serial": meter.serial,
        "wiring": meter.wiring,
        "bridge": bridge,
        "unit_id": config.unit,
        "interval": config.interval_s,
        "quantities": list(meter.registers),
        "events": list(meter.events),
    }
    return {key: value for key, value in said.items() if value not in (None, [])}


def gateway_info(poller: GatewayPoller) -> dict[str, Any]:
    """Return what the bridge's info says of a gateway."""
    connection = poller.connection
    said = {
        "name": poller.gateway.name,
        "address": poller.gateway.address,
        "connected": connection.stands and connection.trouble is None,
        "framing": connection.framing,
        "requests": connection.traffic.requests,
        "connects": connection.traffic.connects,
        "skipped": poller.schedule.skipped,
        "trouble": connection.trouble,
        "shared": connection.shared or None,
    }
    return {key: value for key, value in said.items() if value is not None}


def announced(meter: PolledMeter) -> Announced:
    """Return what Home Assistant is told of a meter."""
    config = meter.meter
    live = meter.live_names()
    return Announced(
        meter_id=config.meter_id,
        name=config.name,
        maker=config.model.maker,
        model=config.model.title,
        serial=meter.serial,
        intervals_s={
            name: config.interval_s if name in live else config.slow_interval_s
            for name in meter.registers
        },
    )
