"""`meterflow web`: serve the pages, the REST interface and the live readings."""

import logging
import signal
from collections.abc import Sequence

import gevent
from gevent.event import Event

from service.program import run_service
from web import create_app, live
from web.context import KEY, Parts
from web.server import serve
from web.settings import WebSettings

logger = logging.getLogger(__name__)

PURPOSE = "Serve the pages, the REST interface and the live readings."
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def run(settings: WebSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    app = create_app(settings)
    parts: Parts = app.extensions[KEY]
    stopped = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stopped.set)
    server = serve(app, settings)
    if settings.http_host not in LOOPBACK:
        logger.warning(
            "HTTP_HOST=%s: anyone who can reach this address can read and post readings",
            settings.http_host,
        )
    parts.subscriber.start()
    relay = gevent.spawn(parts.relay.run)
    relay.link_exception(lambda _: stopped.set())
    gevent.spawn(live.watch_history, parts)
    logger.info("listening: open %s", settings.url)
    stopped.wait()
    server.stop(timeout=1)
    parts.subscriber.stop()
    parts.history.close()
    if relay.exception:
        raise relay.exception
    logger.info("stopped")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a service."""
    run_service("web", PURPOSE, WebSettings, run, arguments)


if __name__ == "__main__":
    main()
