"""`meterflow web`: serve the pages, the REST interface and the live readings."""

import logging
import signal
from collections.abc import Sequence

import gevent
from gevent.event import Event

from service.lifecycle import leave, log_unhandled
from service.program import load, parser_for
from web import create_app, live
from web.commands import add_commands, run_command
from web.context import KEY, Parts
from web.server import serve
from web.settings import WebSettings, check_exposure

logger = logging.getLogger(__name__)

PURPOSE = "Serve the pages, the REST interface and the live readings."


def run(settings: WebSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingsError where nobody could log in."""
    check_exposure(settings)
    gevent.get_hub().print_exception = lambda _context, *error: log_unhandled(*error)
    app = create_app(settings)
    parts: Parts = app.extensions[KEY]
    stopped = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stopped.set)
    server = serve(app, settings)
    logger.info("access: %s", parts.access.summary())
    live.read_names(parts)  # before anything is received
    parts.subscriber.start()
    gevent.spawn(parts.access.watch)
    relay = gevent.spawn(parts.relay.run)
    relay.link_exception(lambda _: stopped.set())
    gevent.spawn(live.watch_history, parts)
    gevent.spawn(live.watch_names, parts)
    logger.info("listening: open %s", settings.url)
    stopped.wait()
    server.stop(timeout=1)
    parts.subscriber.stop()
    parts.history.close()
    if relay.exception:
        raise relay.exception
    logger.info("stopped")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a service, or change who may use it."""
    parser = parser_for("web", PURPOSE, WebSettings)
    add_commands(parser)
    options = parser.parse_args(arguments)
    if options.command:
        leave(f"meterflow web {options.command}", lambda: run_command(options))
    leave("web", lambda: run(load(WebSettings)))


if __name__ == "__main__":
    main()
