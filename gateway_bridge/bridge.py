"""The bridge: a poller for each line, a publisher for all of them, and an orderly end."""

import asyncio
import logging
import signal
from collections.abc import Sequence

from gateway_bridge import capacity
from gateway_bridge.polling.poller import GatewayPoller, Line
from gateway_bridge.publishing.publisher import Publisher
from gateway_bridge.settings import BridgeSettings
from gateway_bridge.site.site import Gateway, site_from
from service.amounts import amount
from service.errors import SettingsError

logger = logging.getLogger(__name__)

FULL = 0.9
"""Share of its time above which a line has no room for a retry or a neighbour's timeout."""
LISTED = 12
"""Meter ids that a line of the log names."""


def run(settings: BridgeSettings) -> None:
    """Poll and publish until SIGTERM or SIGINT; raises SettingsError where no meter is set."""
    gateways = site_from(settings)
    if not gateways:
        raise SettingsError(
            "MODBUS_HOST: is not set, and there is no meters.toml; set the address of the Modbus"
            " gateway, as in MODBUS_HOST=192.168.1.100 (`make run` starts simulated meters)"
        )
    asyncio.run(_serve(settings, gateways))


async def _serve(settings: BridgeSettings, gateways: tuple[Gateway, ...]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    lines = [Line(gateway) for gateway in gateways]
    publisher = Publisher(settings, lines)
    pollers = [
        GatewayPoller(line, publisher, offset=place / len(lines))
        for place, line in enumerate(lines)
    ]
    for line in lines:
        log_plan(line)
    log_load(settings, gateways)
    publisher.start()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(poller.run(), name=f"gateway {poller.line.gateway.address}")
                for poller in pollers
            ]
            tasks.append(group.create_task(publisher.run(), name="publisher"))
            await stopped.wait()
            for task in tasks:
                task.cancel()
    finally:
        publisher.stop()
    logger.info("stopped")


def log_load(settings: BridgeSettings, gateways: Sequence[Gateway]) -> None:
    """Log what the readings will cost this machine, and which scalars are published."""
    rate = capacity.readings_per_s(gateways)
    scalars = capacity.scalars_of(settings, rate)
    share = capacity.core_share(rate, scalars, capacity.slowness())
    level = logging.INFO if share <= capacity.FULL else logging.WARNING
    logger.log(level, "load: %s", capacity.load_text(rate, share))
    if settings.scalars is None and scalars != "all":
        logger.info(
            "scalars: published when they change and once a minute, because there are more than"
            " %d readings a second; SCALARS=all publishes all of them, SCALARS=off none",
            capacity.MOST_FOR_ALL,
        )


def _listed(ids: Sequence[str]) -> str:
    more = f",… ({len(ids)} meters)" if len(ids) > LISTED else ""
    return ",".join(ids[:LISTED]) + more


def log_plan(line: Line) -> None:
    """Log before the first request what the line will carry, and whether it can."""
    gateway, meters = line.gateway, line.meters.values()
    share = line.busy_share()
    requests = sum(len(meter.live) for meter in meters)
    round_s = sum(meter.cost.total_ms(meter.live) for meter in meters) / 1000
    logger.info(
        "gateway %s: meters %s; %s and %.2f s per round, %.0f %% of the line at %d baud",
        gateway.address,
        _listed(list(line.meters)),
        amount(requests, "request"),
        round_s,
        100 * share,
        gateway.cost.baud,
    )
    if share > FULL:
        logger.warning(
            "gateway %s: the line %s; use a longer POLL_INTERVAL, fewer QUANTITIES or a higher"
            " baud rate",
            gateway.address,
            "cannot keep the interval: meters are read in turn" if share > 1 else "is nearly full",
        )
