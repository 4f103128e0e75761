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
import threading
import time
from collections.abc import Callable
from types import FrameType

from contract.errors import MeterflowError
from service.errors import SettingsError

FAILED, WRONG_SETTING, INTERRUPTED = 1, 2, 130


def leave(name: str, run: Callable[[], None]) -> None:
    """Call `run` and exit: a MeterflowError ends in its message, without a traceback."""
    try:
        run()
    except SettingsError as error:
        sys.stderr.write(f"{name}: {error}\n")
        sys.exit(WRONG_SETTING)
    except MeterflowError as error:
        sys.stderr.write(f"{name}: {error}\n")
        sys.exit(FAILED)
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


def set_up_log(level: str) -> None:
    """Write the log to standard error: time, level, message."""
    logging.Formatter.converter = time.localtime
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"
    )
