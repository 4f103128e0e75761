"""`meterflow bridge`: poll meters behind Modbus gateways and publish their readings.

With a command (scan, read, plan, doctor) it runs that command instead.
"""

from collections.abc import Sequence

from gateway_bridge.bridge import run
from gateway_bridge.commands import COMMANDS
from gateway_bridge.settings import BridgeSettings
from service.cli import run_program

PURPOSE = "Poll energy meters over Modbus and publish their readings."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bridge until it is stopped, or one command."""
    run_program("gateway_bridge", PURPOSE, BridgeSettings, run, COMMANDS, arguments)


if __name__ == "__main__":
    main()
