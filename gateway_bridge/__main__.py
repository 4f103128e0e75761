"""`python -m gateway_bridge`: poll meters behind Modbus gateways and publish their readings."""

from collections.abc import Sequence

from contract.service import run_service
from gateway_bridge.bridge import run
from gateway_bridge.settings import BridgeSettings


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bridge until it is stopped."""
    run_service(
        "gateway_bridge",
        "Read energy meters over Modbus and publish their readings.",
        BridgeSettings,
        run,
        arguments,
    )


if __name__ == "__main__":
    main()
