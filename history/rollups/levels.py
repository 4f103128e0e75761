"""The levels of detail at which the history is kept: readings, and three widths of roll-ups.

A level is called by the minutes of its buckets; readings themselves are level 0. Buckets lie on
multiples of their width since the epoch, so that twelve of 5 minutes make an hour, and 24 hours
a UTC day.
"""

RAW = 0
FIVE_MINUTES = 5
HOUR = 60
DAY = 1440
ROLLUPS = (FIVE_MINUTES, HOUR, DAY)


def width_s(level: int) -> int:
    """Return how many seconds a bucket of a level lasts."""
    return level * 60


def bucket_of(ts_ms: int, level: int = FIVE_MINUTES) -> int:
    """Return the bucket of a time in epoch ms: its start, in epoch seconds."""
    return start_of(ts_ms // 1000, level)


def start_of(ts_s: int, level: int) -> int:
    """Return the start of the bucket that covers a time, both in epoch seconds."""
    return ts_s - ts_s % width_s(level)
