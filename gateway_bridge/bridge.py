"""The bridge: one poller per gateway, one publisher for them all, and an orderly end."""

import asyncio
import logging
import signal

from gateway_bridge.polling.poller import GatewayPoller
from gateway_bridge.publishing.publisher import Publisher
from gateway_bridge.settings import BridgeSettings
from gateway_bridge.site.site import Gateway, site_from
from service.errors import SettingsError

logger = logging.getLogger(__name__)

FULL = 0.9
"""Above this share of its time a line has no room for a second try or a neighbour's time-out."""


def run(settings: BridgeSettings) -> None:
    """Poll and publish until SIGTERM or SIGINT; raises SettingsError where nothing is to read."""
    gateways = site_from(settings)
    if not gateways:
        raise SettingsError(
            "MODBUS_HOST: is not set, and there is no meters.toml; give the address of the Modbus"
            " gateway, as in MODBUS_HOST=192.168.1.100 (`make run` brings simulated meters)"
        )
    asyncio.run(_serve(settings, gateways))


async def _serve(settings: BridgeSettings, gateways: tuple[Gateway, ...]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    publisher = Publisher(settings)
    publisher.pollers = [
        GatewayPoller(gateway, publisher, offset=place / len(gateways))
        for place, gateway in enumerate(gateways)
    ]
    for poller in publisher.pollers:
        tell_plan(poller)
    publisher.start()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(poller.run(), name=f"gateway {poller.gateway.address}")
                for poller in publisher.pollers
            ]
            tasks.append(group.create_task(publisher.tell_info(), name="bridge info"))
            tasks.append(group.create_task(publisher.replay(), name="replay"))
            await stopped.wait()
            for task in tasks:
                task.cancel()
    finally:
        publisher.stop()
    logger.info("stopped")


def tell_plan(poller: GatewayPoller) -> None:
    """Say before the first request what the line will carry, and whether it can."""
    gateway, meters = poller.gateway, poller.meters.values()
    share = poller.busy_share()
    requests = sum(len(meter.live) for meter in meters)
    round_s = sum(meter.cost.total_ms(meter.live) for meter in meters) / 1000
    logger.info(
        "gateway %s: meters %s; %d requests and %.2f s a round, %.0f %% of the line at %d baud",
        gateway.address,
        ",".join(poller.meters),
        requests,
        round_s,
        100 * share,
        gateway.cost.baud,
    )
    if share > FULL:
        logger.warning(
            "gateway %s: the line %s; a longer POLL_INTERVAL, fewer QUANTITIES or more baud"
            " would give it room",
            gateway.address,
            "cannot keep the interval: meters are read in turn" if share > 1 else "is nearly full",
        )
