"""Times: UTC inside, RFC 3339 with milliseconds on the wire, epoch milliseconds in the database."""

from datetime import UTC, datetime, timedelta, tzinfo

from contract.errors import PayloadError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_LOWEST_EPOCH_MS = 1e11


def parse_time(value: str | float, zone: tzinfo | None = None) -> datetime:
    """Return the UTC time of a `ts`: RFC 3339, epoch seconds, or (from 1e11) epoch milliseconds.

    Text without a zone is in `zone`. Raises PayloadError for anything else, and for text without
    a zone where no `zone` is given.
    """
    try:
        if isinstance(value, int | float):
            seconds = value / 1000 if value >= _LOWEST_EPOCH_MS else value
            return datetime.fromtimestamp(seconds, UTC)
        ts = datetime.fromisoformat(value)
        if "\0" in value:  # which fromisoformat accepts
            raise ValueError
        if ts.tzinfo is None:
            if zone is None:
                raise ValueError
            ts = ts.replace(tzinfo=zone)
        return ts.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        text = f"should be a time with a zone, as in 2026-11-22T19:20:31.123Z (got {value!r:.60})"
        raise PayloadError("bad_ts", [("ts", text)]) from error


def format_time(ts: datetime) -> str:
    """Return a time as the contract writes it: UTC, RFC 3339 with milliseconds and Z."""
    return ts.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch_ms(ts: datetime) -> int:
    """Return a time in epoch milliseconds, cut to the millisecond that `format_time` shows."""
    return (ts - _EPOCH) // _MS


def from_epoch_ms(ts_ms: int) -> datetime:
    """Return the UTC time of epoch milliseconds."""
    return datetime.fromtimestamp(ts_ms / 1000, UTC)
