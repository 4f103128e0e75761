"""Start and stop of every program: log, signals, exit codes.

| code | meaning |
|---|---|
| 0 | done, or stopped by SIGTERM or SIGINT |
| 1 | failed; for a command that checks something: the check found a fault |
| 2 | wrong setting or argument |
| 130 | command interrupted by Ctrl-C |

Only from the standard library: programs without settings have no use for 14 MB of pydantic.
"""

import logging
import signal
import sys
import textwrap
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from contract.errors import MeterflowError
from service.errors import SettingsError
from service.escaping import escaped, escaped_lines
from service.redaction import redacted

logger = logging.getLogger(__name__)

FAILED, WRONG_SETTING, INTERRUPTED = 1, 2, 130
_ExceptionInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


def leave(name: str, run: Callable[[], None]) -> None:
    """Call `run` and exit: a MeterflowError ends in its message, without a traceback."""
    try:
        run()
    except MeterflowError as error:
        sys.stderr.write(f"{name}: {escaped_lines(redacted(str(error)))}\n")
        sys.exit(WRONG_SETTING if isinstance(error, SettingsError) else FAILED)
    except KeyboardInterrupt:
        pass
    sys.exit(0)


def stop_event() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    event = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        event.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return event


class LogFormatter(logging.Formatter):
    """Formats time, level and message in one line: no control characters, passwords or tokens.

    The lines of a traceback follow indented, so that none of them looks like a message.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """Return the line of a message."""
        return escaped(redacted(super().formatMessage(record)))

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802  # logging's name
        """Return the lines of a traceback."""
        lines = escaped_lines(redacted(super().formatException(ei)))
        return textwrap.indent(lines, "  ")


def set_up_log(level: str) -> None:
    """Write the log to standard error, and exceptions that nothing handles with it."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter())
    logging.basicConfig(level=level, handlers=[handler])
    sys.excepthook = log_unhandled
    threading.excepthook = lambda found: log_unhandled(
        found.exc_type, found.exc_value, found.exc_traceback
    )


def log_unhandled(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    """Log an exception that nothing handles: printed as it is, its text could control the log."""
    if error and not issubclass(kind, KeyboardInterrupt | SystemExit):
        logger.critical("unexpected error", exc_info=(kind, error, traceback))
