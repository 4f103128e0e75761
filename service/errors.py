"""The errors that every program can raise; `contract/errors.py` shows the whole tree."""

from contract.errors import MeterflowError


class SettingsError(MeterflowError):
    """Raised when a setting is wrong."""


class BrokerError(MeterflowError):
    """Raised when the MQTT broker is unreachable or rejects us."""
