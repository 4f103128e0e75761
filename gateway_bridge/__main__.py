"""`python -m gateway_bridge`: poll meters behind Modbus gateways and publish their readings.

With a command (scan, read, plan, doctor) it helps a person on site instead, and ends.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence

from gateway_bridge.bridge import run
from gateway_bridge.settings import BridgeSettings
from service.errors import SettingsError
from service.lifecycle import leave, run_service

COMMANDS = {
    "scan": "look for meters on a line",
    "read": "read one meter and show its values",
    "plan": "show the requests, their time, and whether the interval can be kept",
    "doctor": "find out what is wrong between here and the meters, and what to do about it",
}
INTERRUPTED = 130
_PURPOSE = "\n".join([
    "Read energy meters over Modbus and publish their readings.",
    "",
    "commands for a person on site, each with its own --help:",
    *(f"  {name:<8} {meaning}" for name, meaning in COMMANDS.items()),
])  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bridge until it is stopped, or one command."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and not words[0].startswith("-"):
        leave("gateway_bridge", lambda: _command(words[0], words[1:]))
    run_service("gateway_bridge", _PURPOSE, BridgeSettings, run, words)


def _command(name: str, arguments: Sequence[str]) -> None:
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(COMMANDS)}"
        raise SettingsError(f"there is no command {name!r}{hint}")
    # By name: the bridge itself needs nothing of what the commands import.
    command = importlib.import_module(f"gateway_bridge.commands.{name}")
    try:
        sys.exit(command.main(arguments))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
