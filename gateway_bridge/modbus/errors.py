"""The errors of a gateway, its line and its meters."""

from contract.errors import MeterflowError


class GatewayError(MeterflowError):
    """Base class: a Modbus gateway or its line has a fault."""


class MeterTimeout(GatewayError):
    """Raised when a meter does not respond in time."""


class MeterFault(GatewayError):
    """Raised when a meter returns a Modbus exception `code` or (None) with invalid data."""

    def __init__(self, text: str, code: int | None = None) -> None:
        self.code = code
        super().__init__(text)


class MeterRefusal(MeterFault):
    """Raised when a meter refuses registers that it has never returned: it may not have them."""
