"""Times as the tables hold them: `contract.readings.epoch_ms` makes them, this reads them."""

from datetime import UTC, datetime


def from_ms(ts_ms: int) -> datetime:
    """Return epoch milliseconds as a time in UTC."""
    return datetime.fromtimestamp(ts_ms / 1000, UTC)
