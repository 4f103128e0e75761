"""A clock in a file, for programs that should believe that it is another time."""

from pathlib import Path

_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def can_fake() -> bool:
    """Return whether libfaketime is installed."""
    return _FAKETIME is not None


def read_clock(file: Path) -> dict[str, object]:
    """Return the environment in which a program reads the clock from a file."""
    if not _FAKETIME:
        return {}
    return {
        "LD_PRELOAD": _FAKETIME,
        "FAKETIME_TIMESTAMP_FILE": file,
        "FAKETIME_DONT_FAKE_MONOTONIC": 1,
        "FAKETIME_CACHE_DURATION": 1,
        "NO_FAKE_STAT": 1,
    }


def set_clock(file: Path, by_s: float) -> None:
    """Set the clock, relative to the true time."""
    new = file.with_suffix(".new")
    new.write_text(f"{by_s:+.0f}\n")
    new.replace(file)  # half a line would be another time
