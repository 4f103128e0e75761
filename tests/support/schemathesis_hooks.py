"""What schemathesis cannot read from the description: the times that the interface accepts."""

from datetime import UTC, datetime, timedelta, timezone

import schemathesis
from hypothesis import strategies as st

_zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_times = st.datetimes(datetime(1970, 1, 2), datetime(2999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001

schemathesis.openapi.format(
    "date-time", st.builds(lambda time, zone: time.astimezone(zone).isoformat(), _times, _zones)
)
