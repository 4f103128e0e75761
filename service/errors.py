"""The errors that every program can raise; the whole tree is drawn in `contract/errors.py`."""

from contract.errors import MeterflowError


class SettingsError(MeterflowError):
    """Raised when a setting is wrong."""


class BrokerError(MeterflowError):
    """Raised when the MQTT broker is unreachable or refuses."""
