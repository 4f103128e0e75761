"""The error of the history."""

from contract.errors import MeterflowError


class StorageError(MeterflowError):
    """Raised when the database is unreachable, full, locked or not ours."""
