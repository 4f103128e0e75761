"""The broker for trying out and for one machine: amqtt, its faults mended, started and stopped.

It keeps queues in memory, speaks MQTT 3.1.1 only and has no shared subscriptions; docs/brokers.md
has the whole list.
"""

import asyncio
import contextlib
import logging
import signal
from pathlib import Path

from amqtt.errors import BrokerError as AmqttError

from broker.connection_limits import Admission
from broker.log_filter import Complaints
from broker.retained import RetainedMessages
from broker.rights import Rights
from broker.session import EmbeddedBroker
from broker.settings import BrokerSettings
from broker.users import Users
from service.errors import BrokerError

logger = logging.getLogger(__name__)

SHUTDOWN_S = 5.0
STATE = Path("state")


def run_embedded(settings: BrokerSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises BrokerError where the broker cannot start, SettingsError where a file is not understood.
    """
    # amqtt logs each connection, and each packet of a client that sends nonsense.
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.ERROR)
    # asyncio tells of each byte that it could not send to a client that has gone.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    asyncio.run(_serve(settings))


async def _serve(settings: BrokerSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host, port = settings.mqtt_host, settings.mqtt_port
    retained = RetainedMessages(STATE / f"embedded-{port}.db")
    broker = EmbeddedBroker(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        admission=_admission(settings),
        retained=retained,
        complaints=Complaints(),
    )
    try:
        await broker.start()
    except AmqttError as error:
        raise BrokerError(f"embedded broker on {host}:{port}: {error}") from error
    logger.info("embedded broker (amqtt) listens on %s:%d", host, port)
    logger.info(
        "it is for trying out: a restart forgets queues; no MQTT 5, no $share, a thousand or two "
        "messages a second; for more install mosquitto"
    )
    await retained.write_behind(stop)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(broker.close(), SHUTDOWN_S)
    await retained.write()


def _admission(settings: BrokerSettings) -> Admission:
    users, rules = settings.broker_users_file, settings.broker_acl_file
    return Admission(
        Users(users) if users else None, Rights.load(rules) if rules else Rights.everything()
    )
